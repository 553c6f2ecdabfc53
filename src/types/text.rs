//! Bounds for texts that come from elsewhere.

/// The longest text of another server that is kept, in bytes.
pub const TEXT_LIMIT: usize = 4096;

/// Cuts a text that is longer than [`TEXT_LIMIT`], and says so with three dots.
pub fn cut(mut text: String) -> String {
    if text.len() > TEXT_LIMIT {
        let mut end = TEXT_LIMIT;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push_str(" ...");
    }
    text
}

/// Cuts a name as [`cut`] does a text.
pub fn cut_name<T: AsRef<str> + From<String>>(name: T) -> T {
    match name.as_ref().len() > TEXT_LIMIT {
        true => cut(name.as_ref().to_owned()).into(),
        false => name,
    }
}
