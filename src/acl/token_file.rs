//! Reads token files.

use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::path::Path;
use std::str;
use std::time::{Duration, SystemTime};

use jiff::civil;
use jiff::fmt::temporal::Pieces;
use zeroize::Zeroizing;

use super::builder::{Fault, NewToken, Origin, TokenStoreBuilder};
use super::load_error::{LoadError, LoadErrorKind, LoadWarning, Place};
use super::policy;
use super::syntax::{Content, Item, Notation, Position, SyntaxError, Text, Value, nearest};
use super::{DefaultPolicy, Rules, RulesError, json};

/// How many bytes a token file may have.
pub(super) const MAX_BYTES: usize = 32 << 20;

/// A token file that has been read.
pub(super) struct TokenFile<'a> {
    path: &'a Path,
    text: Zeroizing<String>,
    open_to_all: bool,
}

impl<'a> TokenFile<'a> {
    /// Reads a file without blocking on anything but the disk.
    pub(super) fn read(path: &'a Path) -> Result<Self, LoadError> {
        let refuse = |kind| LoadError::new(kind, Some(Place::File(path.to_owned(), None)));
        let read = |error| refuse(LoadErrorKind::Read(error));
        // To open a pipe would be to wait for its other end.
        if !fs::metadata(path).map_err(read)?.is_file() {
            return Err(refuse(LoadErrorKind::NotAFile));
        }
        let file = File::open(path).map_err(read)?;
        let metadata = file.metadata().map_err(read)?;
        if !metadata.is_file() {
            return Err(refuse(LoadErrorKind::NotAFile));
        }
        if metadata.len() > MAX_BYTES as u64 {
            return Err(refuse(LoadErrorKind::TooLarge));
        }
        let bytes = contents(&file, metadata.len()).map_err(read)?;
        Ok(TokenFile {
            path,
            text: decode(bytes).map_err(|(at, problem)| {
                let place = Place::File(path.to_owned(), at);
                LoadError::new(LoadErrorKind::Syntax { problem }, Some(place))
            })?,
            open_to_all: is_open_to_all(&metadata),
        })
    }

    /// Adds what the file says to a builder.
    pub(super) fn add_to(
        &self,
        builder: &mut TokenStoreBuilder,
    ) -> Result<Vec<LoadWarning>, Fault> {
        let extension = self.path.extension();
        let is_json = !extension.is_some_and(|extension| extension.eq_ignore_ascii_case("hcl"));
        let items = if is_json {
            json::parse(&self.text, Notation::Json)
        } else {
            parse_hcl(&self.text)?
        };
        let items = items.map_err(|SyntaxError { at, problem }| fault(at, problem.into()))?;
        let mut reader = Reader {
            text: &self.text,
            is_json,
            builder,
            examples: Vec::new(),
        };
        reader.file(&items)?;
        let path = || self.path.to_owned();
        let open = self
            .open_to_all
            .then(|| LoadWarning::OpenToAll { path: path() });
        let examples = reader.examples.iter().map(|at| LoadWarning::ExampleSecret {
            path: path(),
            position: self.position(*at),
        });
        Ok(open.into_iter().chain(examples).collect())
    }

    fn position(&self, at: usize) -> Position {
        Position::of(at, &self.text)
    }

    /// The error with its place in the file.
    pub(super) fn error(&self, Fault { kind, origin }: Fault) -> LoadError {
        let place = match origin {
            Origin::Code(place) => place,
            Origin::File(at) => Place::File(self.path.to_owned(), Some(self.position(at))),
        };
        LoadError::new(kind, Some(place))
    }
}

#[cfg(feature = "hcl")]
fn parse_hcl(text: &str) -> Result<Result<Vec<Item<'_>>, SyntaxError>, Fault> {
    Ok(super::hcl::parse(text))
}

#[cfg(not(feature = "hcl"))]
fn parse_hcl(_: &str) -> Result<Result<Vec<Item<'_>>, SyntaxError>, Fault> {
    Err(fault(0, LoadErrorKind::HclDisabled))
}

/// Reads into one buffer, since one that grows would leave copies behind.
fn contents(file: &File, len: u64) -> io::Result<Zeroizing<Vec<u8>>> {
    let capacity = usize::try_from(len).unwrap_or(MAX_BYTES) + 1;
    let mut bytes = Zeroizing::new(Vec::new());
    bytes.try_reserve_exact(capacity)?;
    file.take(len).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The text of a file, without a byte order mark.
fn decode(
    bytes: Zeroizing<Vec<u8>>,
) -> Result<Zeroizing<String>, (Option<Position>, &'static str)> {
    if let [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [0, ..] | [_, 0, ..] = bytes[..] {
        return Err((None, "the file is in UTF-16 or UTF-32: save it as UTF-8"));
    }
    match str::from_utf8(&bytes) {
        Ok(text) => Ok(Zeroizing::new(
            text.strip_prefix('\u{feff}').unwrap_or(text).to_owned(),
        )),
        Err(error) => {
            let valid = str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default();
            let position = Position::of(valid.len(), valid);
            Err((Some(position), "this is not UTF-8: save the file as UTF-8"))
        }
    }
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

fn fault(at: usize, kind: LoadErrorKind) -> Fault {
    Fault {
        kind,
        origin: Origin::File(at),
    }
}

fn invalid<T>(at: usize, attribute: &'static str, expected: &'static str) -> Result<T, Fault> {
    Err(fault(
        at,
        LoadErrorKind::InvalidAttribute {
            attribute,
            expected,
        },
    ))
}

/// The text that is expected of an attribute.
fn text(
    value: &Value<'_>,
    attribute: &'static str,
    expected: &'static str,
) -> Result<Zeroizing<String>, Fault> {
    match &value.content {
        Content::Text(text) => name(text, attribute, expected),
        _ => invalid(value.at, attribute, expected),
    }
}

fn name(
    text: &Text<'_>,
    attribute: &'static str,
    expected: &'static str,
) -> Result<Zeroizing<String>, Fault> {
    let decoded = text.decode();
    let decoded = decoded
        .as_ref()
        .and_then(|bytes| str::from_utf8(bytes).ok());
    match decoded {
        Some(decoded) => Ok(Zeroizing::new(decoded.to_owned())),
        None => invalid(text.at, attribute, expected),
    }
}

const FILE: [&str; 4] = ["default_policy", "anonymous", "policy", "token"];
const TOKEN: [&str; 5] = ["secret", "description", "policies", "management", "expires"];

/// Names from Consul's own files. They are no secrets, so an error may quote them.
const FOREIGN: [&str; 14] = [
    "accessor",
    "accessorid",
    "acl",
    "expirationtime",
    "expirationttl",
    "id",
    "local",
    "name",
    "namespace",
    "policies",
    "roles",
    "rules",
    "ttl",
    "type",
];

/// Which of the known attributes this is. One that stands twice is refused.
fn attribute<const N: usize>(
    item: &Item<'_>,
    known: [&'static str; N],
    expected: &'static str,
    seen: &mut Vec<&'static str>,
) -> Result<&'static str, Fault> {
    let name = item.name.decode().unwrap_or_default();
    let found = known.into_iter().find(|known| *known.as_bytes() == **name);
    let Some(found) = found else {
        let nearest = nearest(&name, known);
        let quotable = nearest.or_else(|| {
            let mut foreign = FOREIGN.into_iter();
            foreign.find(|foreign| foreign.as_bytes().eq_ignore_ascii_case(&name))
        });
        return Err(fault(
            item.name.at,
            LoadErrorKind::UnknownAttribute {
                name: quotable.map(|_| String::from_utf8_lossy(&name).into_owned()),
                nearest,
                expected,
            },
        ));
    };
    // A block of HCL stands as often as there are policies or tokens.
    if seen.contains(&found) && !matches!(found, "policy" | "token") {
        return Err(fault(
            item.name.at,
            LoadErrorKind::RepeatedAttribute { attribute: found },
        ));
    }
    seen.push(found);
    Ok(found)
}

/// The values of blocks by their names, written as labels or as an object.
fn entries<'i, 'a>(
    item: &'i Item<'a>,
    attribute: &'static str,
    expected: &'static str,
) -> Result<Vec<(&'i Text<'a>, &'i Value<'a>)>, Fault> {
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
    is_json: bool,
    builder: &'a mut TokenStoreBuilder,
    /// Where secrets of the published example stand.
    examples: Vec<usize>,
}

impl Reader<'_> {
    fn file(&mut self, items: &[Item<'_>]) -> Result<(), Fault> {
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

    fn default_policy(&mut self, item: &Item<'_>) -> Result<(), Fault> {
        const EXPECTED: &str = "\"allow\" or \"deny\"";
        let policy = match text(&item.value, "default_policy", EXPECTED)?.as_str() {
            "allow" => DefaultPolicy::Allow,
            "deny" => DefaultPolicy::Deny,
            _ => return invalid(item.value.at, "default_policy", EXPECTED),
        };
        if self.builder.set_default_policy(policy) {
            return Ok(());
        }
        Err(fault(
            item.name.at,
            LoadErrorKind::RepeatedAttribute {
                attribute: "default_policy",
            },
        ))
    }

    fn policies(&mut self, item: &Item<'_>) -> Result<(), Fault> {
        for (label, value) in entries(item, "policy", "a name and a block of rules")? {
            let rules = self.rules(value)?;
            let name = name(label, "policy", "a name")?;
            self.builder.define(&name, rules, Origin::File(label.at));
        }
        Ok(())
    }

    fn rules(&self, value: &Value<'_>) -> Result<Rules, Fault> {
        const EXPECTED: &str = "a block of rules or a text of them";
        let rules = match &value.content {
            Content::Object(items) => policy::from_block(items, self.is_json, self.text),
            _ => text(value, "policy", EXPECTED)?
                .parse()
                .map_err(RulesError::without_values),
        };
        rules.map_err(|error| fault(value.at, LoadErrorKind::InvalidRules(error)))
    }

    fn tokens(&mut self, item: &Item<'_>) -> Result<(), Fault> {
        let expected = "an accessor id and a block";
        for (label, value) in entries(item, "token", expected)? {
            let Content::Object(items) = &value.content else {
                return invalid(value.at, "token", expected);
            };
            self.token(label, items)?;
        }
        Ok(())
    }

    fn token(&mut self, label: &Text<'_>, items: &[Item<'_>]) -> Result<(), Fault> {
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
            return Err(fault(label.at, LoadErrorKind::NoSecret));
        };
        if secret.starts_with("replace-me") {
            self.examples.push(at);
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
fn policy_names(
    value: &Value<'_>,
    attribute: &'static str,
) -> Result<Vec<(String, Origin)>, Fault> {
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
fn expiry(value: &Value<'_>) -> Result<Option<SystemTime>, Fault> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_seconds_since_1970() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("1969-12-31T23:59:59Z", -1),
            ("1970-01-01T00:00:00-00:01", 60),
            ("2000-02-29T12:00:00z", 951_825_600),
            ("2000-03-01 00:00:00Z", 951_868_800),
            ("2018-10-24T12:25:06.921933-04:00", 1_540_398_306),
            ("2028-02-29T00:00:00Z", 1_835_395_200),
            ("2038-01-19T03:14:08Z", 2_147_483_648),
            ("2100-03-01T00:00:00+05:30", 4_107_522_600),
            ("9999-12-31T23:59:59Z", 253_402_300_799),
            ("0001-01-01T00:00:00Z", ZERO_TIME),
        ] {
            assert_eq!(timestamp(text), Some(seconds), "{text}");
        }
    }

    #[test]
    fn other_texts_are_no_times() {
        for text in [
            "",
            "2030-01-01",
            "2030-01-01T00:00:00",
            "2030-1-01T00:00:00Z",
            "2030-02-29T00:00:00Z",
            "2100-02-29T00:00:00Z",
            "2030-13-01T00:00:00Z",
            "2030-01-00T00:00:00Z",
            "2030-01-01T25:00:00Z",
            "2030-01-01T00:60:00Z",
            "2030-01-01T00:00:00.Z",
            "2030-01-01T00:00:00Zx",
            "2030-01-01T00:00:00+00:60",
            "2030-01-01T00:00:00+01:00[Europe/Paris]",
            "+030-01-01T00:00:00Z",
            "2030-01-01T00:00:00\u{661}Z",
            "tomorrow",
        ] {
            assert_eq!(timestamp(text), None, "{text}");
        }
    }
}
