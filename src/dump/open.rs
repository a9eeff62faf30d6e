//! Opens a path as a dump.

use super::disk::make_room;
use super::formats::npy::Npy;
use super::formats::raw::{Description, Raw};
use super::formats::{self, FORMATS};
use super::manifest::Manifests;
use super::read::head;
use super::select::Selector;
use super::{DiskFile, Dump, Format, Hints, Opened, ReadError, names, nearest, passes};
use crate::natural::natural;
use crate::note::Note;
use crate::threads;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Bytes of a file that are read first.
const FIRST: u64 = 1 << 10;
/// Bytes of a file that [`Format::sniff`] sees.
const HEAD: u64 = 1 << 16;
/// Fewer files than this are not worth a second thread, unless they are long.
const FEW: usize = 16;
/// A file of so many bytes may take time to understand: long texts are counted.
const LONG: u64 = 1 << 20;
/// The list of a folder is as long when it holds thousands of names.
const LONG_LIST: u64 = 1 << 16;
/// Deeper folders than any dump has.
const MAX_FOLDERS: usize = 32;

/// Opens a directory, archive, single file or log; `path::name` and `path::name[0,-1]` open one tensor of it.
///
/// Only headers are read. A file of a folder that cannot be read stands in [`Dump::unreadable`], a file that is no
/// tensor in [`Dump::ignored`]; `Err` when the path itself cannot be read.
pub fn open(path: &Path, hints: &Hints) -> Result<Dump, ReadError> {
    match fs::metadata(path) {
        Ok(meta) if meta.is_dir() => open_folder(path, hints),
        Ok(meta) if meta.is_file() => open_single(path, hints),
        Ok(_) => Err(ReadError::unsupported(
            path,
            "neither a file nor a directory; write the data to a file first",
        )),
        Err(error) => match Selector::split(path) {
            Some((file, selector)) => selector.apply(open(&file, hints)?),
            None if error.kind() == io::ErrorKind::NotFound => {
                let mut fact = String::from("no such file or directory");
                if let Some(near) = nearest::nearest(path) {
                    fact.push_str(&format!("; there is {}", near.display()));
                }
                Err(ReadError::io(path, io::Error::new(error.kind(), fact)))
            }
            None => Err(ReadError::io(path, error)),
        },
    }
}

/// [`open`] of two paths, at once where that saves time.
pub fn open_both(
    a: &Path,
    b: &Path,
    hints: &Hints,
) -> (Result<Dump, ReadError>, Result<Dump, ReadError>) {
    let few = if is_long(a) && is_long(b) {
        2
    } else {
        usize::MAX
    };
    threads::both(2, few, || open(a, hints), || open(b, hints))
}

fn is_long(path: &Path) -> bool {
    let long = |meta: fs::Metadata| meta.len() >= if meta.is_dir() { LONG_LIST } else { LONG };
    fs::metadata(path).is_ok_and(long)
}

fn open_single(path: &Path, hints: &Hints) -> Result<Dump, ReadError> {
    let opened = match open_file(path, hints, None) {
        Outcome::Opened(opened) => opened,
        Outcome::Unreadable(error) => return Err(error),
        Outcome::NoTensor if hints.dtype.is_some() || hints.shape.is_some() => {
            Raw.open(path, hints)?
        }
        Outcome::NoTensor => {
            let head = head(path, HEAD).unwrap_or_default();
            return Err(ReadError::unsupported(path, no_tensor(&head)));
        }
    };
    let mut dump = Dump {
        root: path.to_path_buf(),
        ..Dump::default()
    };
    dump.tensors = opened.tensors;
    dump.unreadable = opened.unreadable;
    dump.notes = opened.notes;
    names::finish(&mut dump);
    Ok(dump)
}

fn open_folder(root: &Path, hints: &Hints) -> Result<Dump, ReadError> {
    let mut dump = Dump {
        root: root.to_path_buf(),
        ..Dump::default()
    };
    let mut files = Vec::new();
    list(root, &mut Vec::new(), &mut files, &mut dump)?;
    sort_naturally(root, &mut files);
    let manifests = Manifests::read(&files);
    make_room(files.len());
    let few = match files.len() < FEW && files.iter().any(|f| is_long(f)) {
        true => 2,
        false => FEW,
    };
    let outcomes: Vec<Outcome> = threads::map(&files, few, |file| {
        open_file(file, hints, manifests.get(file))
    });

    let consumed: BTreeSet<PathBuf> = outcomes
        .iter()
        .filter_map(|o| match o {
            Outcome::Opened(opened) => Some(&opened.consumed),
            _ => None,
        })
        .flatten()
        .cloned()
        .collect();
    dump.tensors.reserve(outcomes.len());
    for (file, outcome) in files.into_iter().zip(outcomes) {
        // A manifest that describes more than the files beside it holds tensors of its own.
        let empty = matches!(&outcome, Outcome::Opened(o)
            if o.tensors.is_empty() && o.unreadable.is_empty() && o.notes.is_empty());
        let manifest =
            manifests.used().contains(&file) && (empty || matches!(outcome, Outcome::NoTensor));
        if manifest || consumed.contains(&file) {
            continue;
        }
        match outcome {
            Outcome::Opened(opened) => {
                let folder = folder_name(root, &file);
                for mut tensor in opened.tensors {
                    if let Some(folder) = &folder {
                        tensor.name = format!("{folder}/{}", tensor.name);
                    }
                    tensor.sequence = tensor
                        .sequence
                        .or_else(|| manifests.sequence(&file))
                        .or_else(|| names::dump_index(&tensor.name));
                    dump.tensors.push(tensor);
                }
                dump.unreadable.extend(opened.unreadable);
                dump.notes.extend(opened.notes);
            }
            Outcome::Unreadable(error) => dump.unreadable.push(error),
            Outcome::NoTensor => dump.ignored.push(file),
        }
    }
    passes::settle(&mut dump);
    names::finish(&mut dump);
    Ok(dump)
}

/// What a file turned out to be.
enum Outcome {
    Opened(Opened),
    Unreadable(ReadError),
    NoTensor,
}

fn open_file(path: &Path, hints: &Hints, described: Option<&Description>) -> Outcome {
    let extension = formats::extension(path);
    let start = match Start::read(path) {
        Ok(found) => found,
        // A file that nobody may read matters only where it would have been a tensor.
        Err(error) if extension.is_some() => return Outcome::Unreadable(error),
        Err(_) => return Outcome::NoTensor,
    };
    let named = extension.as_deref().map_or(&[][..], formats::formats_of);
    let format = FORMATS.iter().find(|f| f.sniff(&start.head, path));
    let format = match format {
        Some(format) => *format,
        None if described.is_some() => &Raw as &dyn Format,
        // The format that the extension names says best what is wrong; plain text without numbers is no fault.
        None => match FORMATS
            .iter()
            .find(|f| named.first() == Some(&f.name()) && f.name() != "text")
        {
            Some(format) => *format,
            None => return Outcome::NoTensor,
        },
    };
    let opened = if format.name() == Raw.name() {
        Raw.open_described(path, hints, described)
    } else {
        match format.open_head(&start.file, &start.head, start.len) {
            Some(tensor) => Ok(Opened {
                tensors: vec![tensor],
                ..Opened::default()
            }),
            None => format.open(path, hints),
        }
    };
    match opened {
        // Text without numbers.
        Ok(opened) if opened.is_empty() && opened.notes.is_empty() => Outcome::NoTensor,
        Ok(mut opened) => {
            if !named.is_empty() && !named.contains(&format.name()) && !opened.tensors.is_empty() {
                opened.notes.push(
                    Note::new(
                        "wrong_extension",
                        format!(
                            "{} holds {} data, its extension says .{}",
                            path.display(),
                            format.name(),
                            extension.unwrap_or_default()
                        ),
                    )
                    .about(opened.tensors.iter().map(|t| t.name.clone()).collect()),
                );
            }
            Outcome::Opened(opened)
        }
        Err(error) => Outcome::Unreadable(error),
    }
}

/// The start of a file, and the file itself.
struct Start {
    file: DiskFile,
    head: Vec<u8>,
    len: u64,
}

impl Start {
    fn read(path: &Path) -> Result<Start, ReadError> {
        let io = |e| ReadError::io(path, e);
        let file = File::open(path).map_err(io)?;
        let len = file.metadata().map_err(io)?.len();
        let mut head = Vec::with_capacity(len.min(FIRST) as usize);
        let reader = &file;
        // a little is enough for the most common of small files
        reader.take(FIRST).read_to_end(&mut head).map_err(io)?;
        if !Npy.sniff(&head, path) {
            let more = HEAD - head.len() as u64;
            reader.take(more).read_to_end(&mut head).map_err(io)?;
        }
        let file = DiskFile::opened(path, file);
        Ok(Start { file, head, len })
    }
}

/// Collects the files below `folder`; hidden ones, links in circles and unreadable folders are noted. `above` holds the
/// device and inode of every folder that `folder` stands in.
fn list(
    folder: &Path,
    above: &mut Vec<(u64, u64)>,
    files: &mut Vec<PathBuf>,
    dump: &mut Dump,
) -> Result<(), ReadError> {
    let io = |e| ReadError::io(folder, e);
    let meta = fs::metadata(folder).map_err(io)?;
    let own = (meta.dev(), meta.ino());
    if above.contains(&own) {
        dump.notes.push(Note::new(
            "link_loop",
            format!(
                "{}: a link to a folder that it stands in, left out",
                folder.display()
            ),
        ));
        return Ok(());
    }
    above.push(own);
    let listed = list_entries(folder, above, files, dump);
    above.pop();
    listed
}

fn list_entries(
    folder: &Path,
    above: &mut Vec<(u64, u64)>,
    files: &mut Vec<PathBuf>,
    dump: &mut Dump,
) -> Result<(), ReadError> {
    let io = |e| ReadError::io(folder, e);
    for entry in fs::read_dir(folder).map_err(io)? {
        let entry = entry.map_err(io)?;
        let path = entry.path();
        let hidden = path
            .file_name()
            .is_some_and(|n| n.as_encoded_bytes().starts_with(b".") || n == "__MACOSX");
        if hidden {
            dump.ignored.push(path);
            continue;
        }
        let kind = match entry.file_type() {
            Ok(kind) if kind.is_symlink() => fs::metadata(&path).map(|meta| meta.file_type()),
            kind => kind,
        };
        match kind {
            Ok(kind) if kind.is_dir() => {
                if above.len() > MAX_FOLDERS {
                    let fact = format!("more than {MAX_FOLDERS} folders inside each other");
                    dump.unreadable.push(ReadError::unsupported(&path, fact));
                } else if let Err(error) = list(&path, above, files, dump) {
                    dump.unreadable.push(error);
                }
            }
            Ok(kind) if kind.is_file() => files.push(path),
            Ok(_) => dump.ignored.push(path),
            Err(error) if formats::extension(&path).is_some() => {
                dump.unreadable.push(ReadError::io(&path, error));
            }
            Err(_) => dump.ignored.push(path),
        }
    }
    Ok(())
}

/// The folders between the root and a file, joined by `/`.
fn folder_name(root: &Path, file: &Path) -> Option<String> {
    let below = &file.as_os_str().as_encoded_bytes()[root.as_os_str().len()..];
    // most files stand in the root itself
    if !below.iter().skip(1).any(|b| *b == b'/') {
        return None;
    }
    let folder = file.strip_prefix(root).ok()?.parent()?;
    let parts: Vec<_> = folder
        .components()
        .map(|c| c.as_os_str().to_string_lossy())
        .collect();
    (!parts.is_empty()).then(|| parts.join("/"))
}

/// Sorts by the folders and names below `root`, in natural order.
fn sort_naturally(root: &Path, files: &mut Vec<PathBuf>) {
    let start = root.as_os_str().len();
    let key = |file: &PathBuf| {
        let below = &file.as_os_str().as_encoded_bytes()[start..];
        // a folder's files stand before those of a folder whose name goes on
        String::from_utf8_lossy(below).replace('/', "\0")
    };
    let mut keyed: Vec<(String, PathBuf)> = files.drain(..).map(|f| (key(&f), f)).collect();
    keyed.sort_by(|(a, _), (b, _)| natural(a, b));
    files.extend(keyed.into_iter().map(|(_, f)| f));
}

/// What a file without tensors begins with.
fn no_tensor(head: &[u8]) -> String {
    if head.is_empty() {
        return "no tensor: the file is empty".into();
    }
    if let Some(line) = formats::text::first_line(head) {
        return format!("text without tensors: it begins with `{line}`");
    }
    let bytes: Vec<String> = head.iter().take(8).map(|b| format!("{b:02x}")).collect();
    format!(
        "no known tensor format (begins with {}); --dtype and --shape read headerless data",
        bytes.join(" ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtype::DType;

    /// A version 1 header for f32 of one axis.
    fn npy(values: &[f32]) -> Vec<u8> {
        let header = format!(
            "{{'descr': '<f4', 'fortran_order': False, 'shape': ({},), }}\n",
            values.len()
        );
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend(values.iter().flat_map(|v| v.to_le_bytes()));
        bytes
    }

    fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, bytes) in files {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        dir
    }

    fn names(dump: &Dump) -> Vec<&str> {
        dump.tensors.iter().map(|t| &*t.name).collect()
    }

    #[test]
    fn numbers_in_names_are_ordered_by_value() {
        let mut list = ["l10", "l9", "l1.b", "l1", "l01", "a", "l9x"];
        list.sort_by(|a, b| natural(a, b));
        assert_eq!(list, ["a", "l01", "l1", "l1.b", "l9", "l9x", "l10"]);
    }

    #[test]
    fn a_folder_is_read_in_natural_order_with_side_folders_in_the_names() {
        let x = npy(&[1.0, 2.0]);
        let dir = folder(&[
            ("step10/h.npy", &x),
            ("step9/h.npy", &x),
            ("layer_10.npy", &x),
            ("layer_9.npy", &x),
        ]);
        let dump = open(dir.path(), &Hints::default()).unwrap();
        assert_eq!(names(&dump), ["layer_9", "layer_10", "step9/h", "step10/h"]);
    }

    #[test]
    fn files_that_are_no_tensors_are_ignored_and_broken_ones_do_not_stop_the_rest() {
        let x = npy(&[1.0, 2.0]);
        let dir = folder(&[
            ("good.npy", &x),
            ("cut.npy", &x[..x.len() - 3]),
            ("README.md", b"# dump"),
            (".DS_Store", b"\0\0\0\x01Bud1"),
            ("config.json", b"{\"hidden_size\": 64}"),
            ("plot.png", b"\x89PNG\r\n"),
        ]);
        let dump = open(dir.path(), &Hints::default()).unwrap();
        assert_eq!(names(&dump), ["good"]);
        assert_eq!(dump.ignored.len(), 4);
        let [error] = &dump.unreadable[..] else {
            panic!("{:?}", dump.unreadable);
        };
        let text = error.to_string();
        assert!(
            text.contains("cut.npy at byte") && text.contains("needs 8, found 5"),
            "{text}"
        );
    }

    #[test]
    fn links_to_a_folder_that_holds_them_are_left_out_with_a_note() {
        let dir = folder(&[("sub/x.npy", &npy(&[1.0]))]);
        for (to, link) in [(".", "a"), ("..", "sub/a"), ("..", "sub/b")] {
            std::os::unix::fs::symlink(to, dir.path().join(link)).unwrap();
        }
        std::os::unix::fs::symlink("sub", dir.path().join("again")).unwrap();
        let dump = open(dir.path(), &Hints::default()).unwrap();
        assert_eq!(names(&dump), ["again/x", "sub/x"]);
        assert!(dump.unreadable.is_empty(), "{:?}", dump.unreadable);
        let ids: Vec<_> = dump.notes.iter().map(|n| n.id.clone()).collect();
        assert_eq!(ids, ["link_loop"; 5]);
    }

    #[test]
    fn what_a_manifest_cannot_tell_is_kept() {
        let entry = |shape: &str, more: &str| {
            format!(
                r#"{{"task": "statistics", "dump_data_dir": null, "data": {{"Module.a.B.forward.0": {{"output": [
                {{"type": "torch.Tensor", "dtype": "torch.float32", "shape": {shape}, {more}, "data_name": "x.npy"}}]}}}}}}"#
            )
        };
        let tree = r#"{"module_path": "M", "outputs": {"shape": "torch.Size([2])", "dtype": "torch.float32",
            "value": ["tensor([1.0000e+00, oh])"]}}"#;
        let x = npy(&[1.0, 2.0]);
        for (name, text) in [
            ("dump.json", entry("[-2]", r#""Max": 1"#)),
            ("M_debug_tree_FULL_TENSORS.json", tree.to_owned()),
        ] {
            let dir = folder(&[("x.npy", &x), (name, text.as_bytes())]);
            let dump = open(dir.path(), &Hints::default()).unwrap();
            assert_eq!(names(&dump), ["x"], "{name}");
            assert_eq!(dump.unreadable.len(), 1, "{name}: {:?}", dump.unreadable);
        }
        let checksum = entry("[2]", r#""md5": "1c2d""#);
        let dir = folder(&[("x.npy", &x), ("dump.json", checksum.as_bytes())]);
        let dump = open(dir.path(), &Hints::default()).unwrap();
        assert_eq!(dump.notes[0].id, "no_statistics");
    }

    #[test]
    fn content_wins_over_the_extension_with_a_note() {
        let dir = folder(&[("q.bin", &npy(&[1.0]))]);
        let dump = open(dir.path(), &Hints::default()).unwrap();
        assert_eq!(dump.tensors[0].origin.format, "npy");
        assert_eq!(dump.notes[0].id, "wrong_extension");
    }

    #[test]
    fn a_missing_path_is_named() {
        let error = open(Path::new("/no/such/dump"), &Hints::default()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "/no/such/dump: no such file or directory"
        );
    }

    #[test]
    fn a_path_may_name_a_tensor_and_a_slice_of_it() {
        let dir = folder(&[
            ("dump/x.npy", &npy(&[1.0, 2.0, 3.0])),
            ("dump/y.npy", &npy(&[4.0])),
        ]);
        let at = |tail: &str| {
            open(
                Path::new(&format!("{}{tail}", dir.path().display())),
                &Hints::default(),
            )
        };
        let values = |tail: &str| at(tail).unwrap().tensors[0].values().unwrap();
        assert_eq!(values("/dump::x"), [1.0, 2.0, 3.0]);
        assert_eq!(values("/dump::x[-1]"), [3.0]);
        assert_eq!(values("/dump/x.npy::[0]"), [1.0]);
        let error = at("/dump::z").unwrap_err().to_string();
        assert!(
            error.ends_with("dump::z: no tensor of this name among 2: x, y"),
            "{error}"
        );
        let error = at("/dump::x[7]").unwrap_err().to_string();
        assert!(error.contains("index 7 is outside axis 0 of 3"), "{error}");
    }

    #[test]
    fn files_of_one_stem_keep_their_extension() {
        let raw: Vec<u8> = [1.0f32, 2.0].iter().flat_map(|v| v.to_le_bytes()).collect();
        let dir = folder(&[("a/x.npy", &npy(&[1.0])), ("a/x.bin", &raw)]);
        let dump = open(dir.path(), &Hints::default()).unwrap();
        assert_eq!(names(&dump), ["a/x.bin", "a/x.npy"]);
        assert_eq!(dump.notes[0].id, "same_names");
    }

    #[test]
    fn a_headerless_file_takes_type_and_shape_from_the_options() {
        let raw: Vec<u8> = [1.0f32, 2.0].iter().flat_map(|v| v.to_le_bytes()).collect();
        let dir = folder(&[("x.weights", &raw)]);
        let path = dir.path().join("x.weights");
        assert!(open(&path, &Hints::default()).is_err());
        let hints = Hints {
            dtype: Some(DType::F32),
            shape: Some(vec![2, 1]),
        };
        let dump = open(&path, &hints).unwrap();
        assert_eq!(dump.tensors[0].info.shape(), [2, 1]);
        let hints = Hints {
            dtype: Some(DType::F32),
            shape: Some(vec![3]),
        };
        let error = open(&path, &hints).unwrap_err().to_string();
        assert!(error.contains("needs 12, found 8"), "{error}");
    }
}
