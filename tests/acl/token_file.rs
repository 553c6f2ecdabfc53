//! Token files for tests.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

/// A file that is removed with the test, and that its owner alone may read.
pub(crate) struct TokenFile(PathBuf);

impl TokenFile {
    pub(crate) fn new(extension: &str, text: impl AsRef<[u8]>) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!(
            "cluster-operator-acl-{}-{}.{extension}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let file = TokenFile(std::env::temp_dir().join(name));
        file.write(text);
        #[cfg(unix)]
        file.set_mode(0o600);
        file
    }

    pub(crate) fn json(text: &str) -> Self {
        TokenFile::new("json", text)
    }

    pub(crate) fn write(&self, text: impl AsRef<[u8]>) {
        fs::write(&self.0, text).expect("the file is written");
    }

    #[cfg(unix)]
    pub(crate) fn set_mode(&self, mode: u32) {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(&self.0, fs::Permissions::from_mode(mode)).expect("the mode is set");
    }
}

impl AsRef<Path> for TokenFile {
    fn as_ref(&self) -> &Path {
        &self.0
    }
}

impl Drop for TokenFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}
