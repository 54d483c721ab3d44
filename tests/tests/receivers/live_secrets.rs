//! Secrets that change while a receiver runs.
#![allow(clippy::unwrap_used)]

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use number7_core::{
    LiveVerifier, MAX_REPLACED_SECRETS, RejectionKind, SIGNATURE_HEADER, Secret, Verifier,
};
use number7_tests::{COMPLETED, server::Server, socket::Socket};
use tempfile::TempDir;

/// How often the tests read a secret.
const SOON: Duration = Duration::from_millis(10);

fn secret(text: &str) -> Secret {
    Secret::new(text).unwrap()
}

fn signed(secret: &Secret) -> String {
    secret.sign(COMPLETED).to_string()
}

#[track_caller]
fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(60), "{what}");
        thread::sleep(Duration::from_millis(5));
    }
}

fn current(live: &LiveVerifier) -> String {
    live.accepted()[0].name.clone()
}

#[test]
fn a_request_is_verified_by_the_secrets_of_its_beginning() {
    let (old, new) = (secret("the old one"), secret("the new one"));
    let live = LiveVerifier::new(old.clone()).overlap(Duration::ZERO);
    let begin = |secret: &Secret| {
        let signature = signed(secret);
        let mut intake = live.current().begin([(SIGNATURE_HEADER, signature.as_bytes())]).unwrap();
        intake.push(COMPLETED.into()).unwrap();
        intake
    };
    let (by_old, by_new) = (begin(&old), begin(&new));
    assert!(live.replace(new.clone()));
    assert_eq!(by_old.finish().unwrap().signed_by(), "primary");
    assert_eq!(by_new.finish().unwrap_err().kind(), RejectionKind::SignatureMismatch);
    assert_eq!(begin(&new).finish().unwrap().signed_by(), new.fingerprint());
    let refused = begin(&old).finish().unwrap_err();
    assert_eq!(refused.kind(), RejectionKind::SignatureMismatch, "there is no overlap");
}

#[test]
fn a_replaced_secret_is_accepted_until_its_time_is_over_and_says_when_it_signed() {
    let secrets = ["one", "two", "three"].map(secret);
    let verifier = Verifier::named("first", secrets[0].clone())
        .also_accept("always", secret("always"))
        .body_limit(COMPLETED.len());
    let live = LiveVerifier::new(verifier);
    assert!(!live.replace(secrets[0].clone()), "it is the same");
    for secret in &secrets[1..] {
        assert!(live.replace(secret.clone()));
    }
    let accepted = live.accepted();
    let names: Vec<_> = accepted.iter().map(|secret| &*secret.name).collect();
    let (two, three) = (secrets[1].fingerprint(), secrets[2].fingerprint());
    assert_eq!(names, [&*three, &*two, "first", "always"]);
    let has_an_end: Vec<_> = accepted.iter().map(|known| known.remaining.is_some()).collect();
    assert_eq!(has_an_end, [false, true, true, false]);
    assert!(accepted.iter().all(|known| known.last_signed.is_none()));

    assert_eq!(live.current().verify(signed(&secrets[0]), COMPLETED).unwrap().signed_by(), "first");
    let signed_last = live.accepted().into_iter().filter(|known| known.last_signed.is_some());
    assert_eq!(signed_last.map(|known| known.name).collect::<Vec<_>>(), ["first"]);
    let too_large = format!("{COMPLETED} ");
    let signature = secrets[2].sign(&too_large).to_string();
    let refused = live.current().verify(signature, too_large).unwrap_err();
    assert_eq!(refused.kind(), RejectionKind::BodyTooLarge, "the limits stay");

    // Back to a secret that is still accepted: its overlap is cancelled.
    assert!(live.replace(secrets[1].clone()));
    let names: Vec<_> = live.accepted().into_iter().map(|known| known.name).collect();
    assert_eq!(names, [&*two, &*three, "first", "always"]);
}

#[test]
fn there_and_back_leaves_the_first_secret_accepted_without_an_end() {
    let [a, b] = ["a", "b"].map(secret);
    let live = LiveVerifier::new(a.clone()).overlap(Duration::from_secs(60));
    live.replace(b.clone());
    live.replace(a.clone());
    let accepted = live.accepted();
    assert_eq!(accepted.len(), 2, "each is listed once");
    assert_eq!((&*accepted[0].name, accepted[0].remaining), (&*a.fingerprint(), None));
    live.end_overlap();
    assert!(live.current().verify(signed(&a), COMPLETED).is_ok());
    assert!(live.current().verify(signed(&b), COMPLETED).is_err());

    // A secret that is always accepted has no end, even if it was the current one for a while.
    let verifier = Verifier::new(a.clone()).also_accept("b", b.clone());
    let live = LiveVerifier::new(verifier).overlap(Duration::ZERO);
    live.replace(b.clone());
    assert_eq!(live.accepted().len(), 1, "it is listed once");
    live.replace(a.clone());
    live.end_overlap();
    for secret in [&a, &b] {
        assert!(live.current().verify(signed(secret), COMPLETED).is_ok());
    }
    assert_eq!(live.accepted()[1].name, "b");
}

#[test]
fn so_many_replaced_secrets_are_accepted_and_no_more() {
    let verifier = Verifier::new(secret("0")).also_accept("always", secret("always"));
    let live = LiveVerifier::new(verifier);
    for number in 1..=100 {
        live.replace(secret(&number.to_string()));
    }
    let accepts = |text: &str| live.current().verify(signed(&secret(text)), COMPLETED).is_ok();
    assert_eq!(live.accepted().len(), 1 + MAX_REPLACED_SECRETS + 1);
    assert!(accepts("100") && accepts("92") && accepts("always"));
    assert!(!accepts("91"), "the oldest is not accepted any more");
}

/// As on a network mount whose server is away: a named pipe that nobody writes to.
#[test]
fn a_read_that_hangs_holds_up_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("secret");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    let (begun, read) = (Arc::new(AtomicBool::new(false)), pipe.clone());
    let hangs = Arc::clone(&begun);
    let live = LiveVerifier::new(secret("old"));
    live.follow(SOON, move || {
        hangs.store(true, Relaxed);
        Secret::from_file(&read)
    })
    .unwrap();
    let servers = Server::both_behind(
        number7_tower::VerifyNumber7::live(live.clone()),
        number7_actix::VerifyNumber7::live(live.clone()),
    );
    wait_until("it is read", || begun.load(Relaxed));
    let is_accepted = |text: &str| {
        let signature = signed(&secret(text));
        servers.iter().all(|server| {
            let mut socket = Socket::connect(server.addr);
            socket.write_head(&signature, COMPLETED.len());
            socket.write(COMPLETED);
            socket.answer().unwrap().status == 200
        })
    };
    assert!(is_accepted("old"));
    assert!(live.replace(secret("by hand")), "a replacement by hand waits for nothing");
    assert!(is_accepted("by hand"));
    // The server is back, with another secret.
    let (held, new) = (folder.path().join("held"), folder.path().join("new"));
    fs::hard_link(&pipe, &held).unwrap();
    fs::write(&new, "new").unwrap();
    fs::rename(&new, &pipe).unwrap();
    fs::write(&held, "new").unwrap();
    wait_until("it goes on", || current(&live) == secret("new").fingerprint());
    assert!(is_accepted("new"));
}

#[test]
fn an_overlap_can_be_ended_and_does_not_depend_on_when_it_was_set() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    fs::write(&file, "one").unwrap();
    let read = file.clone();
    let live = LiveVerifier::from_file(&file).unwrap();
    live.follow(SOON, move || Secret::from_file(&read)).unwrap();
    // The threads that follow the file know the verifier before and after this call.
    let live = live.overlap(Duration::from_secs(60));
    fs::write(&file, "two").unwrap();
    wait_until("the secret is replaced", || current(&live) == secret("two").fingerprint());
    assert!(live.accepted()[1].remaining.unwrap() <= Duration::from_secs(60));
    assert!(live.current().verify(signed(&secret("one")), COMPLETED).is_ok());
    live.end_overlap();
    assert!(live.current().verify(signed(&secret("one")), COMPLETED).is_err());
    assert!(live.current().verify(signed(&secret("two")), COMPLETED).is_ok());
}

#[test]
fn a_secret_that_was_replaced_by_hand_does_not_come_back_from_a_file_that_has_not_changed() {
    let (read, calls) = reads([Ok("leaked")]);
    let live = LiveVerifier::new(secret("leaked")).overlap(Duration::ZERO);
    live.follow(SOON, read).unwrap();
    live.replace(secret("new"));
    let before = calls.load(Relaxed);
    wait_until("it was read again and again", || calls.load(Relaxed) > before + 5);
    assert_eq!(current(&live), secret("new").fingerprint());
    assert!(live.current().verify(signed(&secret("leaked")), COMPLETED).is_err());
}

/// The diagnosis shows the operator that the sender has the old secret.
#[test]
fn a_secret_whose_time_is_over_is_recognized() {
    let (old, new) = (secret("the old one"), secret("the new one"));
    let verifier = Verifier::named("old", old.clone()).diagnose();
    let live = LiveVerifier::new(verifier).overlap(Duration::ZERO);
    live.replace(new);
    let refused = live.current().verify(signed(&old), COMPLETED).unwrap_err();
    assert_eq!(refused.diagnosis().unwrap().secret(), Some("old"));
}

/// The values that a function reads, one after another, and then the last one again and again.
fn reads(
    script: impl IntoIterator<Item = Result<&'static str, &'static str>>,
) -> (impl FnMut() -> Result<Secret, &'static str> + Send + 'static, Arc<AtomicU32>) {
    let mut script = script.into_iter().collect::<Vec<_>>().into_iter().peekable();
    let calls = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&calls);
    let read = move || {
        counted.fetch_add(1, Relaxed);
        let read = script.next().unwrap();
        if script.peek().is_none() {
            script = vec![read].into_iter().peekable();
        }
        match read {
            Err("panic") => panic!("a panic of the test"),
            read => read.map(secret),
        }
    };
    (read, calls)
}

#[test]
fn a_secret_that_is_being_written_or_cannot_be_read_is_not_taken() {
    let (read, calls) = reads([
        Ok("one"),
        Err("deleted"),
        Err("panic"),
        Err("empty"),
        Ok("tw"),
        Ok("two"),
        Ok("tw"),
        Err("deleted"),
        Ok("two"),
        Ok("two"),
    ]);
    let live = LiveVerifier::new(secret("one"));
    live.follow(SOON, read).unwrap();
    let two = secret("two").fingerprint();
    wait_until("the secret is replaced", || current(&live) == two);
    let names: Vec<_> = live.accepted().into_iter().map(|known| known.name).collect();
    assert_eq!(names, [&*two, "primary"], "the part was not taken");

    // The thread ends with the last clone.
    let last = live.clone();
    drop(live);
    let before = calls.load(Relaxed);
    wait_until("it goes on", || calls.load(Relaxed) > before);
    drop(last);
    thread::sleep(SOON * 5);
    let before = calls.load(Relaxed);
    thread::sleep(SOON * 20);
    assert_eq!(calls.load(Relaxed), before, "nobody needs it any more");
}

/// A secret as Kubernetes mounts it: a link to a link, which is replaced.
struct Mounted {
    folder: TempDir,
    version: u32,
}

impl Mounted {
    fn new(secret: &str) -> Self {
        let mut mounted = Self { folder: tempfile::tempdir().unwrap(), version: 0 };
        mounted.swap(secret);
        symlink("..data/secret", mounted.file()).unwrap();
        mounted
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("secret")
    }

    fn swap(&mut self, secret: &str) {
        let folder: &Path = self.folder.path();
        let old = folder.join(format!("..{}", self.version));
        self.version += 1;
        let new = format!("..{}", self.version);
        fs::create_dir(folder.join(&new)).unwrap();
        fs::write(folder.join(&new).join("secret"), format!("{secret}\n")).unwrap();
        symlink(&new, folder.join("..data_tmp")).unwrap();
        fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
        _ = fs::remove_dir_all(old);
    }
}

/// The vendor signs with the new secret once the receivers have it. Deliveries that are on their way are signed
/// with the old one.
#[test]
fn a_mounted_secret_is_swapped_under_load_and_no_delivery_is_refused() {
    let mut mounted = Mounted::new("secret-0");
    let follow = || {
        let file = mounted.file();
        let live = LiveVerifier::new(Secret::from_file(&file).unwrap());
        live.follow(SOON, move || Secret::from_file(&file)).unwrap();
        live
    };
    let lives = [follow(), follow()];
    let servers = Server::both_behind(
        number7_tower::VerifyNumber7::live(lives[0].clone()),
        number7_actix::VerifyNumber7::live(lives[1].clone()),
    );
    let signing = Mutex::new("secret-0".to_owned());
    let (is_over, sent) = (AtomicBool::new(false), AtomicU32::new(0));
    thread::scope(|scope| {
        let senders: Vec<_> = [0, 1, 0, 1]
            .map(|server| {
                let (server, signing, is_over, sent) =
                    (&servers[server], &signing, &is_over, &sent);
                scope.spawn(move || {
                    while !is_over.load(Relaxed) {
                        let signature = signed(&secret(&signing.lock().unwrap().clone()));
                        let mut socket = Socket::connect(server.addr);
                        socket.write_head(&signature, COMPLETED.len());
                        thread::sleep(Duration::from_millis(3));
                        socket.write(COMPLETED);
                        let status = socket.answer().unwrap().status;
                        assert_eq!(status, 200, "{}", server.framework);
                        sent.fetch_add(1, Relaxed);
                    }
                })
            })
            .into();
        for version in 1..=5 {
            let new = format!("secret-{version}");
            mounted.swap(&new);
            let name = secret(&new).fingerprint();
            wait_until("both have it", || {
                senders.iter().any(|sender| sender.is_finished())
                    || lives.iter().all(|live| current(live) == name)
            });
            *signing.lock().unwrap() = new;
            let before = sent.load(Relaxed);
            wait_until("some are sent", || {
                senders.iter().any(|sender| sender.is_finished())
                    || sent.load(Relaxed) > before + 20
            });
        }
        is_over.store(true, Relaxed);
    });
}

#[test]
fn a_file_that_is_emptied_or_deleted_leaves_the_last_secret_in_use() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    fs::write(&file, "one\r\n").unwrap();
    let (live, read) = (LiveVerifier::new(Secret::from_file(&file).unwrap()), file.clone());
    let failures = Arc::new(AtomicU32::new(0));
    let failed = Arc::clone(&failures);
    live.follow(SOON, move || {
        Secret::from_file(&read).inspect_err(|_| {
            failed.fetch_add(1, Relaxed);
        })
    })
    .unwrap();
    fs::write(&file, "").unwrap();
    wait_until("it was seen to be empty", || failures.load(Relaxed) > 0);
    fs::remove_file(&file).unwrap();
    let before = failures.load(Relaxed);
    wait_until("it was seen to be deleted", || failures.load(Relaxed) > before);
    assert!(live.current().verify(signed(&secret("one")), COMPLETED).is_ok());
    fs::write(&file, "two\n").unwrap();
    wait_until("the new one is there", || current(&live) == secret("two").fingerprint());
}
