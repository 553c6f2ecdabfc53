//! Reads a token file, and wipes what was read.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use zeroize::Zeroizing;

use super::builder::TokenStoreBuilder;
use super::error::LoadError;
use super::format::{FILE, FileFault, FileSeed};
use crate::acl::Position;
use crate::acl::syntax::{Problem, Verdict, read_json};

impl TokenStoreBuilder {
    /// Adds what the file says.
    pub(super) fn read_file(mut self, path: &Path) -> Result<Self, LoadError> {
        let text = read(path).map_err(|source| LoadError::Read {
            path: path.to_owned(),
            source,
        })?;
        let verdict = Verdict::none(FILE);
        let seed = FileSeed {
            builder: &mut self,
            verdict: &verdict,
        };
        let is_hcl = path.extension().is_some_and(|extension| extension == "hcl");
        let outcome = if is_hcl {
            read_hcl(&text, seed, &verdict).ok_or_else(|| LoadError::HclDisabled {
                path: path.to_owned(),
            })?
        } else {
            read_json(&text, seed, &verdict)
        };
        match outcome {
            Ok(()) => Ok(self),
            Err((position, Problem::Syntax(problem))) => Err(LoadError::Syntax {
                path: path.to_owned(),
                position,
                problem,
            }),
            Err((position, Problem::Fault(fault))) => Err(fault.at(path, position)),
        }
    }
}

type Outcome = Result<(), (Position, Problem<FileFault>)>;

#[cfg(feature = "hcl")]
fn read_hcl(text: &[u8], seed: FileSeed<'_>, verdict: &Verdict<FileFault>) -> Option<Outcome> {
    Some(match std::str::from_utf8(text) {
        Ok(text) => crate::acl::syntax::read_hcl(text, seed, verdict),
        Err(error) => {
            let before = &text[..error.valid_up_to()];
            let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
            Err((
                Position::new(line, 1),
                Problem::Syntax("this line is not UTF-8".into()),
            ))
        }
    })
}

#[cfg(not(feature = "hcl"))]
fn read_hcl(_: &[u8], _: FileSeed<'_>, _: &Verdict<FileFault>) -> Option<Outcome> {
    None
}

/// The content of a file, in one piece that is wiped. A buffer that grows would
/// leave copies behind, so it takes what the file had when it was opened.
fn read(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is not a regular file",
        ));
    }
    let len = metadata.len();
    let capacity = usize::try_from(len)
        .ok()
        .and_then(|len| len.checked_add(1))
        .ok_or(io::ErrorKind::FileTooLarge)?;
    let mut text = Zeroizing::new(Vec::new());
    text.try_reserve_exact(capacity)?;
    file.take(len).read_to_end(&mut text)?;
    Ok(text)
}
