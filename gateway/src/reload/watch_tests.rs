//! A file system of texts, looked at once a second. The file `c` is the configuration: its lines name other files.

use super::*;

struct Disk {
    watch: Watch,
    files: BTreeMap<&'static str, &'static str>,
    now: Instant,
}

impl Disk {
    fn with(files: &[(&'static str, &'static str)]) -> Disk {
        let mut disk = Disk {
            watch: Watch::new(Look::new()),
            files: files.iter().copied().collect(),
            now: Instant::now(),
        };
        disk.watch.settle(disk.load());
        disk
    }

    fn read(&self, paths: impl IntoIterator<Item = PathBuf>) -> Look {
        let read = |path: &PathBuf| self.files.get(path.to_str().unwrap()).map(|t| Fingerprint::of(t));
        paths
            .into_iter()
            .map(|path| (path.clone(), read(&path)))
            .collect()
    }

    fn load(&self) -> Look {
        let named = self.files.get("c").into_iter().flat_map(|text| text.lines());
        self.read(named.chain(["c"]).map(PathBuf::from))
    }

    /// One second: whether something else is to be loaded.
    fn look(&mut self) -> bool {
        self.now += Duration::from_secs(1);
        let seen = self.read(self.watch.paths());
        self.watch.look(seen)
    }

    /// As many seconds, with what is done in them: what was dealt with.
    fn run(&mut self, seconds: usize) -> Vec<Look> {
        let mut dealt_with = vec![];
        for _ in 0..seconds {
            let loaded = self.load();
            if self.look() && self.watch.is_finished(&loaded, self.now) {
                self.watch.settle(loaded.clone());
                dealt_with.push(loaded);
            }
        }
        dealt_with
    }

    fn is_dealt_with_once(&mut self) -> bool {
        self.run(60) == [self.load()]
    }
}

#[test]
fn a_change_is_dealt_with_when_it_was_seen_twice_and_only_once() {
    let mut disk = Disk::with(&[("c", "p"), ("p", "1")]);
    assert_eq!(disk.run(60), []);
    disk.files.insert("p", "2");
    assert_eq!(
        (disk.run(1).len(), disk.run(1).len(), disk.run(60).len()),
        (0, 1, 0)
    );
    disk.files.insert("p", "1");
    assert!(disk.is_dealt_with_once(), "also when it is as it was long ago");
}

#[test]
fn a_file_that_is_being_written_is_not_loaded() {
    let mut disk = Disk::with(&[("c", "")]);
    for half in ["h", "ha", "hal", "half"] {
        disk.files.insert("c", half);
        assert_eq!(disk.run(1), [], "{half}");
    }
    assert!(disk.look());
    // It goes on being written between the look and the load.
    disk.files.insert("c", "halfway");
    let loaded = disk.load();
    assert!(!disk.watch.is_finished(&loaded, disk.now));
    assert!(disk.is_dealt_with_once());
}

#[test]
fn what_is_taken_back_was_nothing() {
    let mut disk = Disk::with(&[("c", "1")]);
    disk.files.insert("c", "2");
    assert_eq!(disk.run(1), []);
    disk.files.insert("c", "1");
    assert_eq!(disk.run(60), []);
}

#[test]
fn files_that_vanish_for_a_moment_are_waited_for() {
    for gone in ["p", "c"] {
        let mut disk = Disk::with(&[("c", "p"), ("p", "1")]);
        let text = disk.files.remove(gone).unwrap();
        assert_eq!(disk.run(8), [], "{gone}");
        disk.files.insert(gone, text);
        assert_eq!(disk.run(60), [], "{gone} is back and the same");
        disk.files.remove(gone);
        assert_eq!(disk.run(8), [], "{gone}: that is another time");
        disk.files.insert(gone, "p\n");
        assert!(disk.is_dealt_with_once(), "{gone} is back with another content");
    }
}

#[test]
fn a_file_that_stays_away_is_dealt_with_once() {
    for gone in ["p", "c"] {
        let mut disk = Disk::with(&[("c", "p"), ("p", "1")]);
        let text = disk.files.remove(gone).unwrap();
        assert_eq!(disk.run(10), [], "{gone}");
        assert!(disk.is_dealt_with_once(), "{gone}");
        disk.files.insert(gone, text);
        assert!(disk.is_dealt_with_once(), "{gone} is back");
    }
}

#[test]
fn other_files_are_looked_at_twice_like_all_else() {
    let mut disk = Disk::with(&[("c", "old"), ("old", "1")]);
    disk.files.insert("c", "new");
    disk.files.insert("new", "1");
    assert_eq!(disk.run(2), [], "new was not looked at twice");
    assert!(disk.is_dealt_with_once());
    disk.files.remove("old");
    assert_eq!(disk.run(60), [], "old is nobody's any more");
    disk.files.insert("new", "2");
    assert!(disk.is_dealt_with_once());
}

#[test]
fn a_file_that_is_named_otherwise_is_not_waited_for_under_its_old_name() {
    let mut disk = Disk::with(&[("c", "old"), ("old", "1")]);
    disk.files.remove("old");
    disk.files.insert("new", "1");
    disk.files.insert("c", "new");
    assert!(disk.run(5) == [disk.load()]);
}

#[test]
fn a_name_of_no_file_is_dealt_with_at_once_and_again_when_it_comes() {
    let mut disk = Disk::with(&[("c", "")]);
    disk.files.insert("c", "missing");
    assert!(
        disk.run(5) == [disk.load()],
        "so that somebody is told what is wrong"
    );
    assert_eq!(disk.run(60), []);
    disk.files.insert("missing", "1");
    assert!(disk.is_dealt_with_once());
}
