//! Accessor ids as the store keeps them.

use crate::acl::AccessorId;

/// An accessor id, in little space if it is a UUID as Consul writes it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) enum Accessor {
    Uuid([u8; 16]),
    Text(Box<str>),
}

/// Where a UUID has its hyphens.
const HYPHENS: [usize; 4] = [8, 13, 18, 23];

impl Accessor {
    pub(super) fn new(id: &str) -> Self {
        Accessor::uuid(id).unwrap_or_else(|| Accessor::Text(id.into()))
    }

    /// Only what comes out again as it went in.
    fn uuid(id: &str) -> Option<Self> {
        if id.len() != 36 {
            return None;
        }
        let mut bytes = [0; 16];
        let mut digits = 0;
        for (at, letter) in id.bytes().enumerate() {
            if HYPHENS.contains(&at) {
                if letter != b'-' {
                    return None;
                }
                continue;
            }
            let value = match letter {
                b'0'..=b'9' => letter - b'0',
                b'a'..=b'f' => letter - b'a' + 10,
                _ => return None,
            };
            bytes[digits / 2] = bytes[digits / 2] * 16 + value;
            digits += 1;
        }
        Some(Accessor::Uuid(bytes))
    }

    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Accessor::Text(text) if text.is_empty())
    }

    pub(super) fn to_id(&self) -> AccessorId {
        match self {
            Accessor::Text(text) => AccessorId::new(&**text),
            Accessor::Uuid(bytes) => {
                let mut text = [b'-'; 36];
                let places = (0..36).filter(|at| !HYPHENS.contains(at));
                let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 0xf]);
                for (at, digit) in places.zip(digits) {
                    text[at] = b"0123456789abcdef"[usize::from(digit)];
                }
                // Digits and hyphens are UTF-8.
                AccessorId::new(std::str::from_utf8(&text).unwrap_or_default())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_accessor_id_comes_out_as_it_went_in(
            id in prop_oneof![
                "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}",
                "[0-9a-fA-F-]{36}",
                ".{0,40}",
            ],
        ) {
            let id: String = id;
            prop_assert_eq!(Accessor::new(&id).to_id(), AccessorId::new(id));
        }
    }

    #[test]
    fn a_uuid_takes_no_heap() {
        let id = "6a1253d2-1785-24fd-91c2-f8e78c745511";
        assert!(matches!(Accessor::new(id), Accessor::Uuid(_)));
        assert!(matches!(
            Accessor::new(&id.to_uppercase()),
            Accessor::Text(_)
        ));
        assert!(matches!(
            Accessor::new(&id.replace('-', "a")),
            Accessor::Text(_)
        ));
        assert_eq!(size_of::<Accessor>(), 24);
    }
}
