//! Whether the open store is still the one at its path.
//!
//! SQLite never checks. If its file is deleted or replaced, it continues with the old one, which nobody will find again. The
//! same is true of the files beside it: the next process that opens the database uses the new `-wal` and `-shm`.

use std::{
    ffi::OsString,
    fs,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    time::SystemTime,
};

/// The files of an open store: the database, its `-wal` and its `-shm`.
pub(super) struct Place(Vec<Part>);

/// One of the files, and its identity.
struct Part {
    name: &'static str,
    path: PathBuf,
    id: Option<Id>,
}

/// Device and inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Id(u64, u64);

impl Place {
    /// Remembers the files of a database that is open.
    pub(super) fn of(database: &Path) -> io::Result<Self> {
        // SQLite names the files beside it after the file that a link leads to.
        let real = fs::canonicalize(database)?;
        let beside = |suffix| {
            let mut name = OsString::from(&real);
            name.push(suffix);
            PathBuf::from(name)
        };
        // The link itself may change as well, so it is followed each time.
        let paths = [
            ("the database", database.to_owned()),
            ("its -wal", beside("-wal")),
            ("its -shm", beside("-shm")),
        ];
        let part = |(name, path): (_, PathBuf)| Ok(Part { id: id(&path)?, name, path });
        Ok(Self(paths.into_iter().map(part).collect::<io::Result<_>>()?))
    }

    /// The file that is missing, or is another one now. `None` also if that cannot be found out.
    pub(super) fn changed(&self) -> Option<&'static str> {
        self.0.iter().find(|part| part.is_other()).map(|part| part.name)
    }

    /// When the `-wal` was last written, and its size. Mostly, each commit changes this.
    pub(super) fn written(&self) -> Option<(SystemTime, u64)> {
        let wal = fs::metadata(&self.0.get(1)?.path).ok()?;
        Some((wal.modified().ok()?, wal.len()))
    }

    /// Whether another database is at the path, so that nobody finds the old one there.
    pub(super) fn is_another_database(&self) -> bool {
        self.0.first().is_some_and(Part::is_other)
    }

    /// Whether what is only in the `-wal` can be copied into the database. It cannot if another process has continued with new
    /// files beside it, because the two would not see each other's locks. An empty file does not matter: the process that
    /// created it has written nothing.
    pub(super) fn can_be_completed(&self) -> bool {
        let [database, beside @ ..] = &*self.0 else { return false };
        let has_gone =
            |part: &Part| fs::metadata(&part.path).map_or(true, |metadata| metadata.len() == 0);
        database.is_other() || beside.iter().all(|part| !part.is_other() || has_gone(part))
    }

    /// Deletes the files beside a database that is gone, because SQLite would apply them to the next one.
    pub(super) fn clear(&self) {
        let [database, beside @ ..] = &*self.0 else { return };
        if database.is_other() {
            for part in beside.iter().filter(|part| !part.is_other()) {
                _ = fs::remove_file(&part.path);
            }
        }
    }
}

impl Part {
    fn is_other(&self) -> bool {
        id(&self.path).is_ok_and(|id| id != self.id)
    }
}

/// `None` if there is no file.
fn id(path: &Path) -> io::Result<Option<Id>> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(Some(of(&metadata))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(unix)]
fn of(metadata: &fs::Metadata) -> Id {
    use std::os::unix::fs::MetadataExt;
    Id(metadata.dev(), metadata.ino())
}

/// On Windows, an open file cannot be deleted or renamed. So it is enough that it exists.
#[cfg(not(unix))]
fn of(_: &fs::Metadata) -> Id {
    Id(0, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_gone_or_another_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["a.db", "a.db-wal", "a.db-shm", "b.db"] {
            fs::write(path(name), name).unwrap();
        }
        let place = Place::of(&path("a.db")).unwrap();
        assert_eq!(place.changed(), None);
        fs::write(path("a.db"), "written to").unwrap();
        assert_eq!(place.changed(), None);
        place.clear();
        assert!(path("a.db-wal").exists());
        for (name, what) in
            [("a.db-shm", "its -shm"), ("a.db-wal", "its -wal"), ("a.db", "the database")]
        {
            fs::rename(path(name), path("away")).unwrap();
            assert_eq!(place.changed(), Some(what));
            assert!(place.can_be_completed());
            if cfg!(unix) && what != "the database" {
                fs::write(path(name), "").unwrap();
                assert!(place.can_be_completed());
                fs::write(path(name), "by another process").unwrap();
                assert!(!place.can_be_completed());
            }
            fs::rename(path("away"), path(name)).unwrap();
            assert_eq!(place.changed(), None);
        }
        if cfg!(unix) {
            fs::rename(path("b.db"), path("a.db")).unwrap();
            assert_eq!(place.changed(), Some("the database"));
        }
    }

    #[cfg(unix)]
    #[test]
    fn only_what_belonged_to_the_old_file_is_deleted() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["a.db", "a.db-wal", "a.db-shm", "new-wal"] {
            fs::write(path(name), name).unwrap();
        }
        std::os::unix::fs::symlink(path("a.db"), path("link.db")).unwrap();
        let place = Place::of(&path("link.db")).unwrap();
        fs::remove_file(path("link.db")).unwrap();
        fs::rename(path("new-wal"), path("a.db-wal")).unwrap();
        place.clear();
        assert_eq!(fs::read_to_string(path("a.db-wal")).unwrap(), "new-wal");
        assert!(!path("a.db-shm").exists());
    }
}
