//! Where policies come from: the directory of the operator, or the files that are part of the program.
//!
//! Reading is bounded. Nothing is interpreted here; `compile` does that.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::Problem;
use super::problem::problem;

/// The file with the topic templates.
pub(super) const TEMPLATES: &str = "templates.yaml";
/// The schema: always the program's own.
pub(super) const SCHEMA: &str = include_str!("../../../policies/schema.cedarschema");
/// The directory with the tables of expected decisions, below that of the policies.
const TABLES: &str = "tests";

const MAX_FILES: usize = 256;
const MAX_FILE_BYTES: u64 = 1 << 20;

/// The shipped policies, as they are in `policies/` of the source.
const SHIPPED: &[(&str, &str)] = &[
    ("devices.cedar", include_str!("../../../policies/devices.cedar")),
    ("operators.cedar", include_str!("../../../policies/operators.cedar")),
    ("plugins.cedar", include_str!("../../../policies/plugins.cedar")),
    (TEMPLATES, include_str!("../../../policies/templates.yaml")),
    ("unverified.cedar", include_str!("../../../policies/unverified.cedar")),
];
const SHIPPED_TABLES: &[(&str, &str)] = &[
    ("devices.yaml", include_str!("../../../policies/tests/devices.yaml")),
    ("others.yaml", include_str!("../../../policies/tests/others.yaml")),
    ("plugins.yaml", include_str!("../../../policies/tests/plugins.yaml")),
];

/// The text of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// The path as problems and explanations show it.
    pub path: String,
    /// What it says.
    pub text: String,
}

impl File {
    fn shipped(folder: &str, (name, text): &(&str, &str)) -> Self {
        Self { path: format!("shipped:{folder}{name}"), text: (*text).to_owned() }
    }

    /// Reads one file, up to a bound.
    pub fn read(path: &Path) -> Result<Self, Vec<Problem>> {
        let text = read_bounded(path).map_err(|error| vec![unreadable(path, &error)])?;
        Ok(Self { path: path.display().to_string(), text })
    }

    /// The file's name without its folder.
    pub(super) fn name(&self) -> &str {
        self.path.rsplit(['/', '\\', ':']).next().unwrap_or(&self.path)
    }
}

/// Where policies come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The files that are part of the program.
    Shipped,
    /// A directory. What is in it is all that is in force; the shipped policies don't add to it.
    Directory(PathBuf),
}

impl fmt::Display for Origin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shipped => out.write_str("the shipped policies"),
            Self::Directory(directory) => directory.display().fmt(out),
        }
    }
}

/// Size and time of change of each file: what tells that a directory may have changed.
pub(super) type Fingerprint = BTreeMap<PathBuf, (u64, Option<SystemTime>)>;

impl Origin {
    /// Reads the templates and all `.cedar` files in the order of their names.
    pub(super) fn read(&self) -> Result<Vec<File>, Vec<Problem>> {
        match self {
            Self::Shipped => Ok(SHIPPED.iter().map(|file| File::shipped("", file)).collect()),
            Self::Directory(directory) => {
                let paths = list(directory, is_policy_file).map_err(|error| vec![unreadable(directory, &error)])?;
                let files = read_all(&paths, directory)?;
                let complete = files.iter().any(|file| file.name() == TEMPLATES);
                if complete { Ok(files) } else { Err(vec![without_templates(directory)]) }
            }
        }
    }

    /// Reads the tables of expected decisions; a directory without any has none.
    pub fn tables(&self) -> Result<Vec<File>, Vec<Problem>> {
        let Self::Directory(directory) = self else {
            return Ok(SHIPPED_TABLES.iter().map(|file| File::shipped("tests/", file)).collect());
        };
        let directory = directory.join(TABLES);
        match list(&directory, |path| has_extension(path, "yaml")) {
            Ok(paths) => read_all(&paths, &directory),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(vec![]),
            Err(error) => Err(vec![unreadable(&directory, &error)]),
        }
    }

    /// What the directory looks like now; none if the files can't change or can't be listed.
    pub(super) fn fingerprint(&self) -> Option<Fingerprint> {
        let Self::Directory(directory) = self else { return None };
        let look = |path: PathBuf| {
            let metadata = fs::metadata(&path).ok()?;
            Some((path, (metadata.len(), metadata.modified().ok())))
        };
        Some(list(directory, is_policy_file).ok()?.into_iter().filter_map(look).collect())
    }
}

/// Writes the shipped policies, schema and tables into a directory that has none of them yet.
pub fn export(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let top = SHIPPED.iter().copied().chain([("schema.cedarschema", SCHEMA)]);
    let tables = SHIPPED_TABLES.iter().map(|(name, text)| (Path::new(TABLES).join(name), *text));
    let files = top.map(|(name, text)| (PathBuf::from(name), text)).chain(tables).collect::<Vec<_>>();
    if let Some((taken, _)) = files.iter().find(|(name, _)| directory.join(name).exists()) {
        let message = format!("{} exists and is not overwritten", directory.join(taken).display());
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, message));
    }
    fs::create_dir_all(directory.join(TABLES))?;
    for (name, text) in &files {
        fs::write(directory.join(name), text)?;
    }
    Ok(files.into_iter().map(|(name, _)| directory.join(name)).collect())
}

fn is_policy_file(path: &Path) -> bool {
    has_extension(path, "cedar") || path.file_name().is_some_and(|name| name == TEMPLATES)
}

fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|found| found == extension)
}

/// The files of a directory that are wanted, sorted. Hidden ones are an editor's.
fn list(directory: &Path, wanted: impl Fn(&Path) -> bool) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if wanted(&entry.path()) && !entry.file_name().to_string_lossy().starts_with('.') {
            paths.push(entry.path());
        }
    }
    paths.sort();
    Ok(paths)
}

fn read_all(paths: &[PathBuf], directory: &Path) -> Result<Vec<File>, Vec<Problem>> {
    if paths.len() > MAX_FILES {
        let error = io::Error::other(format!("more than {MAX_FILES} files"));
        return Err(vec![unreadable(directory, &error)]);
    }
    let (mut files, mut problems) = (vec![], vec![]);
    for path in paths {
        match File::read(path) {
            Ok(file) => files.push(file),
            Err(found) => problems.extend(found),
        }
    }
    if problems.is_empty() { Ok(files) } else { Err(problems) }
}

fn read_bounded(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    fs::File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(io::Error::other(format!("longer than {MAX_FILE_BYTES} bytes")));
    }
    Ok(text)
}

fn unreadable(path: &Path, error: &io::Error) -> Problem {
    let remedy = match error.kind() {
        io::ErrorKind::NotFound => "create it, for example with `causeway policy export`, or leave `policies.dir` out",
        io::ErrorKind::PermissionDenied => "let the gateway's user read it",
        io::ErrorKind::InvalidData => "save it as UTF-8",
        _ => "",
    };
    problem(&path.display().to_string(), None, format!("cannot be read: {error}"), remedy)
}

fn without_templates(directory: &Path) -> Problem {
    let file = directory.join(TEMPLATES).display().to_string();
    let message = "there is no such file, so no topic would have a type";
    problem(&file, None, message, "write one, such as the one that `causeway policy export` writes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_files_are_all_files_of_the_source() {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies");
        let texts =
            |files: Vec<File>| files.into_iter().map(|file| (file.name().to_owned(), file.text)).collect::<Vec<_>>();
        let source = Origin::Directory(source);
        assert_eq!(texts(Origin::Shipped.read().unwrap()), texts(source.read().unwrap()));
        assert_eq!(texts(Origin::Shipped.tables().unwrap()), texts(source.tables().unwrap()));
    }

    #[test]
    fn exported_files_load_again_and_are_never_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let written = export(directory.path()).unwrap();
        assert_eq!(written.len(), SHIPPED.len() + SHIPPED_TABLES.len() + 1);
        let origin = Origin::Directory(directory.path().to_owned());
        assert_eq!(origin.read().unwrap().len(), SHIPPED.len());
        assert_eq!(origin.tables().unwrap().len(), SHIPPED_TABLES.len());
        assert_eq!(export(directory.path()).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    }

    #[test]
    fn files_that_cannot_be_read_are_all_named() {
        let directory = tempfile::tempdir().unwrap();
        let bare = Origin::Directory(directory.path().to_owned()).read().unwrap_err();
        assert!(bare[0].file.ends_with("templates.yaml"), "{bare:?}");
        fs::write(directory.path().join("a.cedar"), [0xff]).unwrap();
        fs::write(directory.path().join("b.cedar"), "x".repeat(1 << 21)).unwrap();
        fs::write(directory.path().join(".c.cedar"), [0xff]).unwrap();
        let problems = Origin::Directory(directory.path().to_owned()).read().unwrap_err();
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(problems[0].file.ends_with("a.cedar") && problems[0].remedy.contains("UTF-8"));
        assert!(problems[1].message.contains("longer than"));
        let missing = Origin::Directory(directory.path().join("missing")).read().unwrap_err();
        assert!(missing[0].remedy.contains("causeway policy export"), "{missing:?}");
    }
}
