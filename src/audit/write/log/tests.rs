//! What was told is in the file: whoever writes, whoever is killed, and whatever becomes of the disk.

use super::*;
use crate::audit::file_name::file_name;
use crate::audit::folder::files;
use crate::audit::read::lines::member;
use crate::audit::read::query::Merge;
use crate::audit::read::verify::{self, FileVerdict, Proofs, VerifyReport};
use crate::audit::signature::{HeadSigner, SignatureChecker};
use crate::audit::verifying_key::VerifyingKey;
use crate::audit::write::batch::MAX_QUEUED;
use crate::audit::write::config::Durability;
use crate::audit::write::file;
use crate::audit::write::tidy::Retention;
use crate::audit::write::writer::removal;
use crate::chain::ChainHead;
use crate::record::ExchangeInfo;
use std::collections::HashSet;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, UNIX_EPOCH};

fn config(dir: &Path) -> LogConfig {
    LogConfig {
        dir: dir.join("audit"),
        durability: Durability::Write,
        max_file_bytes: 1 << 20,
        exchanges: true,
        about: "locum test".into(),
        action: "start",
        by: crate::system::operator::Operator::default(),
    }
}

fn at(second: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_000_000 + second)
}

fn substitution(second: u64, exchange: &str) -> Record {
    let mut record = Record::new(at(second), Event::Substitution, "api.openai");
    record.info = Some(Arc::new(ExchangeInfo {
        exchange: exchange.into(),
        agent: crate::name::AgentName::local(),
        pid: None,
        tool: None,
        method: "GET".into(),
        scheme: "https",
        host: "api.openai.com".into(),
        port: 443,
        path: "/v1/models".into(),
    }));
    record
}

fn verdicts(dir: &Path) -> Vec<FileVerdict> {
    files(&dir.join("audit")).unwrap().iter().map(|f| verify::verify(f, &Proofs::default())).collect()
}

fn sound(dir: &Path) -> bool {
    verdicts(dir).iter().all(|v| v.fault.is_none() && v.torn == 0)
}

fn report(dir: &Path) -> VerifyReport {
    verify::verify_all(&dir.join("audit"), &Proofs::default()).unwrap()
}

fn values(dir: &Path, name: &str) -> Vec<String> {
    let mut out = Vec::new();
    let each = |line: &[u8]| {
        out.extend(member(line, name).map(|v| v.text().into_owned()));
        Ok(())
    };
    Merge::new(&dir.join("audit"), Default::default()).unwrap().run(each).unwrap();
    out
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

#[tokio::test]
async fn what_was_committed_is_in_the_file_and_private() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(config(dir.path()), at(0)).unwrap();
    log.commit([substitution(1, "one")]).await.unwrap();
    assert_eq!(values(dir.path(), "exchange"), ["one"]);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let path = log.path().unwrap();
    assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
    let name = path.file_name().unwrap().to_str().unwrap();
    assert_eq!(name, format!("20270115T080000.000000Z-{}.jsonl", std::process::id()));
    assert!(verdicts(dir.path())[0].live);
    log.close(Record::new(at(2), Event::Stop, "audit")).await.unwrap();
    assert!(matches!(log.commit([substitution(3, "late")]).await, Err(AuditError::Closed)));
    drop(log);
    assert_eq!(values(dir.path(), "event"), ["start", "substitution", "stop"]);
    assert!(sound(dir.path()) && !verdicts(dir.path())[0].live);
}

#[tokio::test]
async fn requests_that_are_ready_together_share_a_write() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(config(dir.path()), at(0)).unwrap();
    let path = log.path().unwrap();
    let mut tasks = Vec::new();
    for i in 0..32 {
        let (log, path) = (log.clone(), path.clone());
        tasks.push(tokio::spawn(async move {
            log.commit([substitution(1, &i.to_string())]).await.unwrap();
            std::fs::metadata(path).unwrap().len()
        }));
    }
    let mut lengths = HashSet::new();
    for task in tasks {
        lengths.insert(task.await.unwrap());
    }
    assert_eq!(lengths.len(), 1, "each saw the file after the one write");
    assert_eq!(values(dir.path(), "exchange").len(), 32);
}

#[tokio::test(start_paused = true)]
async fn what_nobody_waits_for_is_written_soon_and_with_the_next_commit() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(config(dir.path()), at(0)).unwrap();
    log.append(&Record::new(at(1), Event::Exchange, "first"));
    assert_eq!(values(dir.path(), "operation"), ["audit"]);
    tokio::time::sleep(LINGER * 2).await;
    assert_eq!(values(dir.path(), "operation"), ["audit", "first"]);
    log.append(&Record::new(at(2), Event::Exchange, "second"));
    log.flush().await.unwrap();
    assert_eq!(values(dir.path(), "operation"), ["audit", "first", "second"]);
    drop(log.commit([Record::new(at(3), Event::Substitution, "hung up")]));
    tokio::time::sleep(LINGER * 2).await;
    assert_eq!(values(dir.path(), "operation"), ["audit", "first", "second", "hung up"]);
}

#[test]
fn without_a_runtime_and_at_its_end_nothing_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(config(dir.path()), at(0)).unwrap();
    log.append(&Record::new(at(1), Event::Config, "no runtime"));
    assert_eq!(values(dir.path(), "operation"), ["audit", "no runtime"]);
    let runtime = runtime();
    runtime.block_on(async { log.append(&Record::new(at(2), Event::Exchange, "runtime ends")) });
    drop(runtime);
    assert_eq!(values(dir.path(), "operation"), ["audit", "no runtime", "runtime ends"]);
}

#[test]
fn a_runtime_may_end_while_the_disk_is_away() {
    for durability in [Durability::Write, Durability::Fsync] {
        let dir = tempfile::tempdir().unwrap();
        let config = LogConfig { durability, ..config(dir.path()) };
        let log = Log::open(config.clone(), at(0)).unwrap();
        std::fs::remove_dir_all(&config.dir).unwrap();
        let runtime = runtime();
        runtime.block_on(async {
            log.append(&substitution(1, "kept"));
            assert!(log.flush().await.is_err());
            log.append(&substitution(1, "kept too"));
        });
        drop(runtime);
        file::make_dir(&config.dir).unwrap();
        drop(log);
        assert_eq!(values(dir.path(), "exchange"), ["kept", "kept too"]);
    }
}

#[test]
fn many_runtimes_write_one_chain() {
    for durability in [Durability::Write, Durability::Fsync] {
        let dir = tempfile::tempdir().unwrap();
        let log = Log::open(LogConfig { durability, ..config(dir.path()) }, at(0)).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let log = log.clone();
                scope.spawn(move || {
                    runtime().block_on(async {
                        let tasks: Vec<_> = (0..8).map(|task| tokio::spawn(some(log.clone(), thread, task))).collect();
                        for task in tasks {
                            task.await.unwrap();
                        }
                    })
                });
            }
        });
        drop(log);
        let exchanges = values(dir.path(), "exchange");
        assert_eq!(exchanges.len(), 4 * 8 * 20);
        assert_eq!(exchanges.iter().collect::<HashSet<_>>().len(), exchanges.len());
        assert!(sound(dir.path()));
    }
}

async fn some(log: Log, thread: usize, task: usize) {
    for i in 0..10 {
        log.commit([substitution(1, &format!("{thread}.{task}.{i}"))]).await.unwrap();
        log.append(&substitution(1, &format!("{thread}.{task}.{i} later")));
    }
}

#[tokio::test]
async fn exchanges_are_left_out_where_the_config_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(LogConfig { exchanges: false, ..config(dir.path()) }, at(0)).unwrap();
    log.append(&Record::new(at(1), Event::Exchange, "x"));
    log.append(&Record::new(at(1), Event::Refusal, "y"));
    log.flush().await.unwrap();
    assert_eq!(values(dir.path(), "event"), ["start", "refusal"]);
}

#[test]
fn a_folder_open_to_others_is_refused_with_the_way_out() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    std::fs::create_dir(&config.dir).unwrap();
    std::fs::set_permissions(&config.dir, PermissionsExt::from_mode(0o750)).unwrap();
    let error = Log::open(config.clone(), at(0)).unwrap_err();
    assert_eq!(error.hint(), format!("chmod 700 {}", config.dir.display()));
}

#[tokio::test]
async fn a_full_file_is_followed_by_another_that_names_its_head() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(LogConfig { max_file_bytes: 2000, ..config(dir.path()) }, at(0)).unwrap();
    for i in 0..40 {
        log.commit([substitution(i, &i.to_string())]).await.unwrap();
    }
    let exchanges: Vec<u64> = values(dir.path(), "exchange").iter().map(|e| e.parse().unwrap()).collect();
    assert_eq!(exchanges, (0..40).collect::<Vec<_>>());
    let verdicts = verdicts(dir.path());
    assert!(verdicts.len() > 3 && sound(dir.path()));
    assert!(report(dir.path()).is_sound());
}

#[tokio::test]
async fn a_file_that_others_touched_is_left_and_the_next_says_why() {
    type Touch = fn(&Path);
    let touches: [(Touch, &str); 4] = [
        (|path| std::fs::remove_file(path).unwrap(), "was removed after 2 records"),
        (|path| std::fs::write(path, "").unwrap(), "was cut, torn or written to by another after 2 records"),
        (
            |path| std::fs::OpenOptions::new().append(true).open(path).unwrap().write_all(b"{}\n").unwrap(),
            "was cut, torn or written to by another after 2 records",
        ),
        (|path| std::fs::rename(path, path.with_extension("old")).unwrap(), "was moved or replaced after 2 records"),
    ];
    for (touch, why) in touches {
        let dir = tempfile::tempdir().unwrap();
        let log = Log::open(config(dir.path()), at(0)).unwrap();
        log.commit([substitution(1, "one")]).await.unwrap();
        let (first, head) = (log.path().unwrap(), log.head().unwrap());
        touch(&first);
        log.commit([substitution(3, "two")]).await.unwrap();
        let second = std::fs::read(log.path().unwrap()).unwrap();
        let line = second.split(|&b| b == b'\n').next().unwrap();
        let reason = member(line, "reason").unwrap().text();
        assert!(reason.ends_with(why) && reason.starts_with("locum test; "), "{reason}");
        assert_eq!(member(line, "head").unwrap().text(), head.head);
        assert_eq!(values(dir.path(), "exchange").last().unwrap(), "two");
    }
}

#[tokio::test]
async fn a_vanished_folder_fails_commits_until_it_is_back() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let log = Log::open(config.clone(), at(0)).unwrap();
    std::fs::remove_dir_all(&config.dir).unwrap();
    let error = log.commit([substitution(1, "gone")]).await.unwrap_err();
    assert_eq!(error.hint(), format!("make the folder again: mkdir -p -m 700 {}", config.dir.display()));
    log.append(&substitution(2, "queued"));
    assert!(log.flush().await.is_err());
    crate::audit::write::file::make_dir(&config.dir).unwrap();
    log.commit([substitution(3, "back")]).await.unwrap();
    assert_eq!(values(dir.path(), "exchange"), ["queued", "back"]);
    assert!(sound(dir.path()));
}

#[tokio::test]
async fn what_the_queue_could_not_hold_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let log = Log::open(config.clone(), at(0)).unwrap();
    std::fs::remove_dir_all(&config.dir).unwrap();
    let mut record = substitution(1, "queued");
    record.reason = Some("x".repeat(2048));
    let (each, total) = (encoded([&record], false, |draft| draft.bytes.len()), 3000);
    for i in 0..total {
        log.append(&record);
        if i % 100 == 0 {
            assert!(log.flush().await.is_err());
        }
    }
    assert!(log.flush().await.is_err());
    crate::audit::write::file::make_dir(&config.dir).unwrap();
    log.flush().await.unwrap();
    let held = MAX_QUEUED / each;
    assert_eq!(values(dir.path(), "exchange").len(), held);
    assert_eq!(values(dir.path(), "count"), [(total - held).to_string()]);
    assert!(sound(dir.path()));
}

fn signer() -> HeadSigner {
    HeadSigner::from_seed(&[7; 32]).unwrap()
}

/// Files too small to be compressed, signed, whose process has ended.
async fn signed(dir: &Path) -> Vec<PathBuf> {
    let upkeep = LogUpkeep { signer: Some(signer()), retention: Retention::default() };
    let log = Log::open_with(LogConfig { max_file_bytes: 60_000, ..config(dir) }, upkeep, at(0)).unwrap();
    let mut paths = Vec::new();
    for i in 0..600 {
        log.commit([substitution(i, &i.to_string())]).await.unwrap();
        paths.extend(log.path());
    }
    log.close(Record::new(at(600), Event::Stop, "audit")).await.unwrap();
    paths.dedup();
    paths
}

fn checked(dir: &Path, anchors: &[ChainHead]) -> VerifyReport {
    let checker = SignatureChecker::new(&[VerifyingKey { key: signer().public(), since: None }]);
    verify::verify_all(&dir.join("audit"), &Proofs { anchors: anchors.to_vec(), checker }).unwrap()
}

/// The file again with other records, hashes and all, as somebody would write it who has no key.
fn rewrite(path: &Path, change: impl Fn(&str) -> Option<String>) {
    let (mut head, mut seq, mut out) = (ChainHead::ZERO, 0, Vec::new());
    for line in std::fs::read_to_string(path).unwrap().lines() {
        let members = std::str::from_utf8(crate::chain::parts(line.as_bytes()).unwrap().members).unwrap();
        let Some(members) = change(members) else { continue };
        head = crate::chain::link(&head, seq, members.as_bytes(), &mut out);
        seq += 1;
    }
    std::fs::write(path, out).unwrap();
}

#[tokio::test]
async fn signatures_and_anchors_find_what_the_chain_alone_can_not() {
    let dir = tempfile::tempdir().unwrap();
    let paths = signed(dir.path()).await;
    assert!(paths.len() >= 2, "{paths:?}");
    let sound = checked(dir.path(), &[]);
    assert!(sound.is_sound(), "{sound:?}");
    let last = paths.last().unwrap();
    let anchor = sound.files.last().unwrap().head;
    assert!(checked(dir.path(), &[anchor, sound.files[0].head]).is_sound());

    let whole = std::fs::read(last).unwrap();
    rewrite(last, |members| (!members.contains("signature")).then(|| members.to_owned()));
    assert!(report(dir.path()).is_sound(), "the chain alone is whole again");
    assert!(!checked(dir.path(), &[]).is_sound(), "no signature is left");
    std::fs::write(last, &whole).unwrap();
    rewrite(last, |members| Some(members.replace("api.openai", "api.other")));
    assert!(report(dir.path()).is_sound(), "the chain alone is whole again");
    assert!(!checked(dir.path(), &[]).is_sound(), "signatures are of other heads");
    let unsigned = Proofs { anchors: vec![anchor], checker: None };
    let anchored = verify::verify_all(&dir.path().join("audit"), &unsigned).unwrap();
    assert_eq!((anchored.is_sound(), anchored.lost_anchors), (false, vec![anchor]));

    let cut = whole.len() - whole.rsplit(|&b| b == b'\n').nth(1).unwrap().len() - 1;
    std::fs::write(last, &whole[..cut]).unwrap();
    assert!(report(dir.path()).is_sound());
    assert_eq!(checked(dir.path(), &[anchor]).lost_anchors, [anchor]);

    std::fs::write(last, &whole).unwrap();
    std::fs::remove_file(&paths[0]).unwrap();
    let missing = report(dir.path()).missing;
    assert_eq!(missing.len(), 1, "nobody has recorded its removal: {missing:?}");
}

#[tokio::test]
async fn a_file_that_is_gone_is_missed_unless_its_removal_is_recorded() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(LogConfig { max_file_bytes: 1000, ..config(dir.path()) }, at(0)).unwrap();
    let mut paths = Vec::new();
    for i in 0..9 {
        log.commit([substitution(i, "x")]).await.unwrap();
        paths.extend(log.path());
    }
    paths.dedup();
    let gone = PreviousFile { file: file_name(&paths[1]), head: "0".repeat(64) };
    std::fs::remove_file(&paths[1]).unwrap();
    let missing = report(dir.path()).missing;
    assert_eq!(missing, [(gone.file.clone(), file_name(&paths[2]))]);
    log.commit([removal(at(9), gone)]).await.unwrap();
    assert!(report(dir.path()).is_sound());
}

const CHILD: &str = "LOCUM_TEST_AUDIT_CHILD";

/// This test again in a process of its own, so that it can be killed or limited.
fn child(test: &str, dir: &Path, before: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("{before} exec \"$@\"")]).arg("sh").arg(std::env::current_exe().unwrap());
    command.args(["--exact", &format!("audit::write::log::tests::{test}"), "--nocapture", "--test-threads=1"]);
    command.env(CHILD, dir).stdin(Stdio::null()).stdout(Stdio::piped());
    command
}

#[test]
fn whenever_we_are_killed_all_that_was_told_is_in_the_file() {
    if let Some(dir) = std::env::var_os(CHILD) {
        return runtime().block_on(write_for_ever(dir.into()));
    }
    let dir = tempfile::tempdir().unwrap();
    let mut told = Vec::new();
    for round in 0..25 {
        let test = "whenever_we_are_killed_all_that_was_told_is_in_the_file";
        let mut child = child(test, dir.path(), "").spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let marks = lines.by_ref().filter_map(|l| l.strip_prefix("told ").map(str::to_owned));
        told.extend(marks.take(1 + round * 37));
        child.kill().unwrap();
        child.wait().unwrap();
        told.extend(lines.filter_map(|l| Some(l.strip_prefix("told ")?.strip_suffix('.')?.to_owned() + ".")));
    }
    let verdicts = verdicts(dir.path());
    assert!(verdicts.len() >= 25, "a file for each process at least");
    assert!(verdicts.iter().all(|v| v.fault.is_none() && !v.live));
    assert!(report(dir.path()).is_sound());
    let exchanges: HashSet<String> = values(dir.path(), "exchange").into_iter().collect();
    assert!(told.len() > 25 * 37 && told.iter().all(|t| exchanges.contains(t)));
}

async fn write_for_ever(dir: PathBuf) {
    let log = Log::open(config(&dir), SystemTime::now()).unwrap();
    let mut tasks = Vec::new();
    for task in 0..8 {
        let log = log.clone();
        tasks.push(tokio::spawn(async move {
            for i in 0u64.. {
                let exchange = format!("{}-{task}-{i}.", std::process::id());
                log.commit([substitution(i, &exchange)]).await.unwrap();
                log.append(&substitution(i, "nobody waits"));
                println!("told {exchange}");
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
}

#[test]
fn a_full_disk_fails_commits_and_the_chain_goes_on_when_there_is_space() {
    if let Some(dir) = std::env::var_os(CHILD) {
        return runtime().block_on(fill_the_disk(dir.into()));
    }
    let dir = tempfile::tempdir().unwrap();
    let test = "a_full_disk_fails_commits_and_the_chain_goes_on_when_there_is_space";
    // A limit on the size of files ends a write in the middle, as a full disk does, and needs no mount.
    let output = child(test, dir.path(), "trap '' XFSZ; ulimit -S -f 40;").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("recovered"), "{said}");
    assert!(sound(dir.path()));
}

async fn fill_the_disk(dir: PathBuf) {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let log = Log::open(config(&dir), at(0)).unwrap();
    let mut written = Vec::new();
    let error = loop {
        let exchange = written.len().to_string();
        match log.commit([substitution(1, &exchange)]).await {
            Ok(()) => written.push(exchange),
            Err(error) => break error,
        }
        assert!(written.len() < 1000);
    };
    assert!(error.hint().starts_with("free some space"), "{error}: {}", error.hint());
    let size = log.path().unwrap().metadata().unwrap().len();
    for _ in 0..10 {
        assert!(log.commit([substitution(2, "refused")]).await.is_err());
        log.append(&substitution(2, "refusal"));
    }
    assert_eq!(values(&dir, "exchange"), written);
    assert!(sound(&dir) && size == log.path().unwrap().metadata().unwrap().len());
    let mut limit = getrlimit(Resource::Fsize);
    limit.current = limit.maximum;
    setrlimit(Resource::Fsize, limit).unwrap();
    log.commit([substitution(3, "back")]).await.unwrap();
    written.extend(std::iter::repeat_n("refusal".to_string(), 10));
    written.push("back".into());
    assert_eq!(values(&dir, "exchange"), written);
    println!("recovered");
}
