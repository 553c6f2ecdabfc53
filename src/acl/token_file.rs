//! Reads token files.

use std::fs::{self, File, Metadata};
use std::io::{self, Read as _};
use std::path::Path;
use std::str;
use std::time::{Duration, SystemTime};

use jiff::civil;
use jiff::fmt::temporal::Pieces;
use zeroize::Zeroizing;

use super::builder::{NewToken, TokenStoreBuilder};
use super::hcl::{self, SyntaxError};
use super::load_error::{LoadError, LoadErrorKind, LoadWarning, Origin};
use super::syntax::{
    Content, Item, MAX_FILE_BYTES, Notation, Position, SyntaxProblem, Text, Value, nearest,
};
use super::{DefaultPolicy, Rules, RulesError, policy};

/// A token file that has been read.
pub(super) struct TokenFile<'a> {
    path: &'a Path,
    text: Zeroizing<String>,
    open_to_all: bool,
}

impl<'a> TokenFile<'a> {
    /// Reads a file, waiting for nothing but the disk.
    pub(super) fn read(path: &'a Path) -> Result<Self, LoadError> {
        let refuse = |kind| LoadError::new(kind, None).in_file(path, "");
        let unreadable = |error| refuse(LoadErrorKind::Read(error));
        // To open a pipe would be to wait for its other end.
        if !fs::metadata(path).map_err(unreadable)?.is_file() {
            return Err(refuse(LoadErrorKind::NotAFile));
        }
        let file = File::open(path).map_err(unreadable)?;
        let metadata = file.metadata().map_err(unreadable)?;
        if !metadata.is_file() {
            return Err(refuse(LoadErrorKind::NotAFile));
        }
        if metadata.len() > MAX_FILE_BYTES as u64 {
            return Err(refuse(LoadErrorKind::TooLarge));
        }
        let bytes = contents(&file, metadata.len()).map_err(unreadable)?;
        Ok(TokenFile {
            path,
            text: decode(&bytes).map_err(|(error, valid)| error.in_file(path, valid))?,
            open_to_all: is_open_to_all(&metadata),
        })
    }

    /// Adds what the file says to a builder.
    pub(super) fn add_to(
        &self,
        builder: &mut TokenStoreBuilder,
    ) -> Result<Vec<LoadWarning>, LoadError> {
        let extension = self.path.extension();
        let notation = if extension.is_some_and(|it| it.eq_ignore_ascii_case("hcl")) {
            Notation::Hcl
        } else {
            Notation::Json
        };
        if notation == Notation::Hcl && !cfg!(feature = "hcl") {
            return Err(self.locate(LoadError::new(LoadErrorKind::HclDisabled, None)));
        }
        let mut reader = Reader {
            text: &self.text,
            notation,
            builder,
            example: None,
        };
        hcl::parse(&self.text, notation)
            .or_else(|SyntaxError { at, problem }| {
                LoadError::at(at, LoadErrorKind::Syntax(problem))
            })
            .and_then(|items| reader.file(&items))
            .map_err(|error| self.locate(error))?;
        let path = self.path.to_owned();
        let mut warnings = Vec::new();
        if let Some(at) = reader.example {
            let position = Position::of(at, &self.text);
            warnings.push(LoadWarning::ExampleSecret(path.clone(), position));
        }
        warnings.extend(self.open_to_all.then_some(LoadWarning::OpenToAll(path)));
        Ok(warnings)
    }

    /// Adds the place in the file to an error.
    pub(super) fn locate(&self, error: LoadError) -> LoadError {
        error.in_file(self.path, &self.text)
    }
}

/// Reads into one buffer, since one that grows would leave copies behind.
fn contents(file: &File, len: u64) -> io::Result<Zeroizing<Vec<u8>>> {
    let capacity = usize::try_from(len).unwrap_or(MAX_FILE_BYTES) + 1;
    let mut bytes = Zeroizing::new(Vec::new());
    bytes.try_reserve_exact(capacity)?;
    file.take(len).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The text of a file, without a byte order mark; otherwise why not, and what comes before.
fn decode(bytes: &[u8]) -> Result<Zeroizing<String>, (LoadError, &str)> {
    let problem = |text| LoadErrorKind::Syntax(SyntaxProblem::Malformed(text));
    if let [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [0, ..] | [_, 0, ..] = bytes {
        let kind = problem("the file is in UTF-16 or UTF-32: save it as UTF-8");
        return Err((LoadError::new(kind, None), ""));
    }
    let text = str::from_utf8(bytes).map_err(|error| {
        let valid = str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default();
        let kind = problem("this is not UTF-8: save the file as UTF-8");
        let origin = Origin::File(valid.len());
        (LoadError::new(kind, Some(origin)), valid)
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    Ok(Zeroizing::new(text.to_owned()))
}

#[cfg(unix)]
fn is_open_to_all(metadata: &Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt;
    metadata.permissions().mode() & 0o006 != 0
}

#[cfg(not(unix))]
fn is_open_to_all(_: &Metadata) -> bool {
    false
}

type Read<T = ()> = Result<T, LoadError>;

fn invalid<T>(at: usize, attribute: &'static str, expected: &'static str) -> Read<T> {
    let kind = LoadErrorKind::InvalidAttribute {
        attribute,
        expected,
    };
    LoadError::at(at, kind)
}

/// The text that an attribute needs.
fn text(
    value: &Value<'_>,
    attribute: &'static str,
    expected: &'static str,
) -> Read<Zeroizing<String>> {
    match &value.content {
        Content::Text(text) => name(text, attribute, expected),
        _ => invalid(value.at, attribute, expected),
    }
}

fn name(
    text: &Text<'_>,
    attribute: &'static str,
    expected: &'static str,
) -> Read<Zeroizing<String>> {
    let bytes = text.decode();
    match bytes.as_ref().map(|bytes| str::from_utf8(bytes)) {
        Some(Ok(decoded)) => Ok(Zeroizing::new(decoded.to_owned())),
        _ => invalid(text.at, attribute, expected),
    }
}

const FILE: [&str; 4] = ["default_policy", "anonymous", "policy", "token"];
const TOKEN: [&str; 5] = ["secret", "description", "policies", "management", "expires"];

/// Names from Consul's own files. They are no secrets, so an error may quote them.
#[rustfmt::skip]
const FOREIGN: [&str; 14] = [
    "accessor", "accessorid", "acl", "expirationtime", "expirationttl", "id", "local", "name",
    "namespace", "policies", "roles", "rules", "ttl", "type",
];

/// Which of the known attributes this is. One that stands twice is refused.
fn attribute<const N: usize>(
    item: &Item<'_>,
    known: [&'static str; N],
    expected: &'static str,
    seen: &mut Vec<&'static str>,
) -> Read<&'static str> {
    let name = item.name.decode().unwrap_or_default();
    let Some(found) = known.into_iter().find(|known| known.as_bytes() == &**name) else {
        let nearest = nearest(&name, known);
        let mut foreign = FOREIGN.into_iter();
        let is_known = nearest.is_some()
            || foreign.any(|foreign| foreign.as_bytes().eq_ignore_ascii_case(&name));
        let kind = LoadErrorKind::UnknownAttribute {
            name: is_known.then(|| format!("{:?}", String::from_utf8_lossy(&name))),
            expected: nearest.unwrap_or(expected),
        };
        return LoadError::at(item.name.at, kind);
    };
    // A block of HCL stands as often as there are policies or tokens.
    if !matches!(found, "policy" | "token") {
        if seen.contains(&found) {
            let kind = LoadErrorKind::RepeatedAttribute { attribute: found };
            return LoadError::at(item.name.at, kind);
        }
        seen.push(found);
    }
    Ok(found)
}

/// The values of blocks by their names, written as labels or as an object.
fn entries<'i, 'a>(
    item: &'i Item<'a>,
    attribute: &'static str,
    expected: &'static str,
) -> Read<Vec<(&'i Text<'a>, &'i Value<'a>)>> {
    match (&item.labels[..], &item.value.content) {
        ([label], _) => Ok(vec![(label, &item.value)]),
        ([], Content::Null) => Ok(Vec::new()),
        ([], Content::Object(items)) => items
            .iter()
            .map(|item| match item.labels.first() {
                None => Ok((&item.name, &item.value)),
                Some(label) => invalid(label.at, attribute, expected),
            })
            .collect(),
        _ => invalid(item.name.at, attribute, expected),
    }
}

struct Reader<'a> {
    text: &'a str,
    notation: Notation,
    builder: &'a mut TokenStoreBuilder,
    /// Where the first secret of the published example stands.
    example: Option<usize>,
}

impl Reader<'_> {
    fn file(&mut self, items: &[Item<'_>]) -> Read {
        let mut seen = Vec::new();
        for item in items {
            let expected = "default_policy, anonymous, policy or token";
            let attribute = attribute(item, FILE, expected, &mut seen)?;
            let is_block = matches!(attribute, "policy" | "token");
            if let (Some(label), false) = (item.labels.first(), is_block) {
                return invalid(label.at, attribute, "no label");
            }
            match attribute {
                "policy" => self.policies(item)?,
                "token" => self.tokens(item)?,
                _ if matches!(item.value.content, Content::Null) => {}
                "anonymous" => {
                    for (name, origin) in policy_names(&item.value, "anonymous")? {
                        self.builder.give_anonymous(&name, &origin);
                    }
                }
                _ => self.default_policy(item)?,
            }
        }
        Ok(())
    }

    fn default_policy(&mut self, item: &Item<'_>) -> Read {
        const EXPECTED: &str = "\"allow\" or \"deny\"";
        let policy = match text(&item.value, "default_policy", EXPECTED)?.as_str() {
            "allow" => DefaultPolicy::Allow,
            "deny" => DefaultPolicy::Deny,
            _ => return invalid(item.value.at, "default_policy", EXPECTED),
        };
        if self.builder.set_default_policy(policy) {
            return Ok(());
        }
        let attribute = "default_policy";
        LoadError::at(item.name.at, LoadErrorKind::RepeatedAttribute { attribute })
    }

    fn policies(&mut self, item: &Item<'_>) -> Read {
        for (label, value) in entries(item, "policy", "a name and a block of rules")? {
            let rules = self.rules(value)?;
            let name = name(label, "policy", "a name")?;
            self.builder.define(&name, rules, Origin::File(label.at));
        }
        Ok(())
    }

    fn rules(&self, value: &Value<'_>) -> Read<Rules> {
        const EXPECTED: &str = "a block of rules or a text of them";
        let rules = match &value.content {
            Content::Object(items) => policy::from_block(items, self.notation, self.text),
            _ => text(value, "policy", EXPECTED)?
                .parse()
                .map_err(RulesError::without_values),
        };
        rules.or_else(|error| LoadError::at(value.at, LoadErrorKind::InvalidRules(error)))
    }

    fn tokens(&mut self, item: &Item<'_>) -> Read {
        let expected = "an accessor id and a block";
        for (label, value) in entries(item, "token", expected)? {
            let Content::Object(items) = &value.content else {
                return invalid(value.at, "token", expected);
            };
            self.token(label, items)?;
        }
        Ok(())
    }

    fn token(&mut self, label: &Text<'_>, items: &[Item<'_>]) -> Read {
        let mut seen = Vec::new();
        let mut secret = None;
        let mut policies = Vec::new();
        let mut management = false;
        let mut expires = None;
        for item in items {
            let expected = "secret, description, policies, management or expires";
            let attribute = attribute(item, TOKEN, expected, &mut seen)?;
            let value = &item.value;
            if let Some(label) = item.labels.first() {
                return invalid(label.at, attribute, "no label");
            }
            match (attribute, &value.content) {
                ("description", _) | (_, Content::Null) => {}
                ("secret", _) => secret = Some((text(value, "secret", "a text")?, value.at)),
                ("policies", _) => policies = policy_names(value, "policies")?,
                ("management", Content::Bool(allowed)) => management = *allowed,
                ("management", _) => return invalid(value.at, "management", "true or false"),
                _ => expires = expiry(value)?,
            }
        }
        let accessor = name(label, "token", "an accessor id")?;
        let Some((secret, at)) = secret else {
            return LoadError::at(label.at, LoadErrorKind::NoSecret);
        };
        if secret.starts_with("replace-me") {
            self.example.get_or_insert(at);
        }
        self.builder.add(NewToken {
            accessor: &accessor,
            secret: &secret,
            policies: &policies,
            management,
            expires,
            at: u32::try_from(label.at).ok(),
        });
        Ok(())
    }
}

/// The names of policies, and where they stand.
fn policy_names(value: &Value<'_>, attribute: &'static str) -> Read<Vec<(String, Origin)>> {
    const EXPECTED: &str = "a list of policy names";
    let Content::List(values) = &value.content else {
        return invalid(value.at, attribute, EXPECTED);
    };
    values
        .iter()
        .map(|value| {
            let name = text(value, attribute, EXPECTED)?;
            Ok((name.as_str().to_owned(), Origin::File(value.at)))
        })
        .collect()
}

/// The time at which a token expires, as Consul writes it; Go's zero time is none.
fn expiry(value: &Value<'_>) -> Read<Option<SystemTime>> {
    const EXPECTED: &str = "a time such as \"2030-01-01T00:00:00Z\", or null";
    match timestamp(&text(value, "expires", EXPECTED)?) {
        Some(ZERO_TIME) => Ok(None),
        // A time before 1970 has passed as well.
        Some(seconds) => Ok(Some(
            SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0)),
        )),
        None => invalid(value.at, "expires", EXPECTED),
    }
}

/// The first second of the year 1.
const ZERO_TIME: i64 = -62_135_596_800;

/// The seconds since 1970 of an RFC 3339 time.
fn timestamp(text: &str) -> Option<i64> {
    // In pieces, because `jiff::Timestamp` ends a day before the last one of the year 9999, which
    // stands for "never".
    let pieces = Pieces::parse(text).ok()?;
    if pieces.time_zone_annotation().is_some() {
        return None;
    }
    let local = civil::DateTime::from_parts(pieces.date(), pieces.time()?);
    let epoch = civil::DateTime::constant(1970, 1, 1, 0, 0, 0, 0);
    let offset = pieces.to_numeric_offset()?;
    Some(local.duration_since(epoch).as_secs() - i64::from(offset.seconds()))
}
