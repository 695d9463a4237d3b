use super::super::entry::CHECK_EVERY;
use super::super::past::{MAX_VALUES, SCRUBBED_FOR};
use super::super::source::{Freshness, SecretSource};
use super::*;
use crate::memory::Plaintext;
use std::sync::atomic::AtomicUsize;

/// A source whose answer the test changes.
struct Fake {
    says: std::sync::Mutex<(Result<Option<String>, String>, Freshness)>,
    asked: AtomicUsize,
}

fn fake(answer: Result<Option<&str>, &str>) -> Arc<Fake> {
    let says = (Ok(None), Freshness::default()).into();
    Arc::new(Fake { says, asked: AtomicUsize::new(0) }).says(answer)
}

impl SecretSource for Fake {
    fn describe(&self) -> String {
        "the fake".into()
    }

    fn load(&self) -> Result<Option<Plaintext>, SourceError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let says = self.says.lock().unwrap().0.clone();
        says.map(|v| v.map(|v| Plaintext::new(v.into_bytes()))).map_err(|e| SourceError::new(e, "mend it"))
    }

    fn freshness(&self) -> Freshness {
        self.says.lock().unwrap().1
    }
}

impl Fake {
    fn says(self: &Arc<Self>, answer: Result<Option<&str>, &str>) -> Arc<Self> {
        let mut says = self.says.lock().unwrap();
        says.0 = answer.map(|v| v.map(str::to_owned)).map_err(str::to_owned);
        says.1.stamp += 1;
        self.clone()
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

fn name(s: &str) -> KeyName {
    s.parse().unwrap()
}

fn key(source: &Arc<Fake>) -> KeySource {
    KeySource { name: name("tool"), source: source.clone() }
}

async fn tool(secrets: &Secrets) -> Result<String, SecretError> {
    let mut keys = Keys::default();
    secrets.add(&secrets.table(), &mut keys, &name("tool")).await?;
    Ok(String::from_utf8(keys.get(&name("tool")).unwrap().expose().to_vec()).unwrap())
}

async fn hidden(secrets: &Secrets) -> Vec<String> {
    let mut keys = Keys::default();
    secrets.try_add(&secrets.table(), &mut keys, &name("tool")).await;
    keys.iter().map(|(_, v)| String::from_utf8(v.expose().to_vec()).unwrap()).collect()
}

/// Rotates, and waits until that is noticed.
async fn change(secrets: &Secrets, fake: &Arc<Fake>, value: &str) {
    fake.says(Ok(Some(value)));
    tokio::time::advance(Duration::from_secs(1)).await;
    secrets.refresh().await;
}

#[tokio::test(start_paused = true)]
async fn a_value_is_current_for_a_moment_and_until_it_changes() {
    let fake = fake(Ok(Some("one")));
    let secrets = Secrets::new([key(&fake)]);
    let is_current = |generation| secrets.is_current(&name("tool"), generation);
    assert!(!is_current(secrets.generation(&name("tool"))), "nobody has asked for it");
    let mut keys = Keys::default();
    secrets.try_add(&secrets.table(), &mut keys, &name("tool")).await;
    let first = keys.generation(&name("tool"));
    assert!(is_current(first));
    tokio::time::advance(CHECK_EVERY).await;
    assert!(!is_current(first), "it is time to ask again");
    tool(&secrets).await.unwrap();
    assert!(is_current(first));
    fake.says(Ok(Some("two")));
    tokio::time::advance(CHECK_EVERY).await;
    tool(&secrets).await.unwrap();
    assert!(!is_current(first), "it has changed");
    let second = secrets.generation(&name("tool"));
    assert!(is_current(second) && second != first);
    secrets.wipe();
    assert!(!is_current(second) && secrets.generation(&name("tool")) != second);
    assert!(!secrets.is_current(&name("other"), keys.generation(&name("other"))), "there is none of that name");
}

/// Exchanges open keys inside spawned tasks.
#[test]
fn opening_can_move_between_threads() {
    fn is_send<T: Send>(_: impl Fn(Arc<Secrets>, Permit) -> T) {}
    is_send(|secrets, permit| async move { secrets.open(&secrets.table(), &permit).await.is_ok() });
}

#[tokio::test(start_paused = true)]
async fn a_value_is_asked_for_once_and_again_within_a_second_of_its_change() {
    let fake = fake(Ok(Some("one")));
    let secrets = Secrets::new([key(&fake)]);
    for _ in 0..3 {
        assert_eq!(tool(&secrets).await.unwrap(), "one");
        tokio::time::advance(Duration::from_secs(2)).await;
    }
    assert_eq!(tool(&secrets).await.unwrap(), "one");
    assert_eq!(fake.asked(), 1);
    let generation = secrets.generation(&name("tool"));
    fake.says(Ok(Some("two")));
    assert_eq!(tool(&secrets).await.unwrap(), "one");
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(tool(&secrets).await.unwrap(), "two");
    assert_ne!(secrets.generation(&name("tool")), generation);
    assert_eq!(fake.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_value_that_only_lives_for_a_time_is_loaded_again_after_it() {
    let fake = fake(Ok(Some("one")));
    fake.says.lock().unwrap().1.lifetime = Some(Duration::from_secs(60));
    let secrets = Secrets::new([key(&fake)]);
    let generation = secrets.generation(&name("tool"));
    for (after, asked) in [(0, 1), (30, 1), (31, 2), (2, 2), (60, 3)] {
        tokio::time::advance(Duration::from_secs(after)).await;
        assert_eq!(tool(&secrets).await.unwrap(), "one");
        assert_eq!(fake.asked(), asked, "after {after}");
    }
    assert_eq!(secrets.generation(&name("tool")), generation, "the same value is no change");
}

#[tokio::test(start_paused = true)]
async fn an_old_value_is_hidden_for_a_while_and_then_forgotten() {
    let fake = fake(Ok(Some("0")));
    let secrets = Secrets::new([key(&fake)]);
    assert_eq!(hidden(&secrets).await, ["0"]);
    for i in 1..=6 {
        change(&secrets, &fake, &i.to_string()).await;
    }
    assert_eq!(hidden(&secrets).await, ["6", "5", "4", "3", "2", "1", "0"], "however often it is rotated");
    let minutes = Duration::from_secs(14 * 60);
    tokio::time::advance(minutes).await;
    assert_eq!(hidden(&secrets).await.len(), 7, "an agent may still ask for what was written down then");
    tokio::time::advance(SCRUBBED_FOR - minutes - Duration::from_secs(5)).await;
    assert_eq!(hidden(&secrets).await, ["6", "5", "4", "3", "2", "1"], "each has its own time");
    tokio::time::advance(Duration::from_secs(5)).await;
    assert_eq!(hidden(&secrets).await, ["6"]);
    change(&secrets, &fake, "7").await;
    assert_eq!(hidden(&secrets).await, ["7", "6"], "the time begins when it is replaced");
}

#[tokio::test(start_paused = true)]
async fn a_value_that_changes_with_each_look_is_hidden_for_all_its_time() {
    let fake = fake(Ok(Some("0")));
    let secrets = Secrets::new([key(&fake)]);
    tool(&secrets).await.unwrap();
    let looks = SCRUBBED_FOR.as_millis().div_ceil(CHECK_EVERY.as_millis());
    for i in 1..looks + 10 {
        fake.says(Ok(Some(&i.to_string())));
        tokio::time::advance(CHECK_EVERY).await;
        assert_eq!(tool(&secrets).await.unwrap(), i.to_string());
    }
    assert_eq!(hidden(&secrets).await.len() as u128, 1 + looks);
}

/// Reloads look at once, so with them there is no limit but what is set.
#[tokio::test(start_paused = true)]
async fn a_key_that_changes_too_often_for_its_values_to_be_hidden_can_not_be_had() {
    for (length, most) in [(4, MAX_VALUES), (64 * 1024, 16)] {
        let value = |i: usize| format!("{i:04}{}", "x".repeat(length - 4));
        let fake = fake(Ok(Some(&value(0))));
        let secrets = Secrets::new([key(&fake)]);
        tool(&secrets).await.unwrap();
        for i in 1..most {
            fake.says(Ok(Some(&value(i))));
            secrets.reload([key(&fake)]);
            assert!(tool(&secrets).await.unwrap() == value(i));
        }
        let generation = secrets.generation(&name("tool"));
        fake.says(Ok(Some(&value(most))));
        secrets.reload([key(&fake)]);
        let e = tool(&secrets).await.unwrap_err();
        assert!(e.to_string().starts_with("key tool can't be had: it changes too often for its old values"), "{e}");
        assert!(e.next().contains("less often"), "{}", e.next());
        assert_eq!(secrets.generation(&name("tool")), generation);
        let kept = hidden(&secrets).await;
        assert!(kept.len() == most && (0..most).all(|i| kept.contains(&value(i))), "{}", kept.len());
        // one that was there before takes no room
        fake.says(Ok(Some(&value(1))));
        secrets.reload([key(&fake)]);
        assert!(tool(&secrets).await.unwrap() == value(1));
        fake.says(Ok(Some(&value(most))));
        tokio::time::advance(SCRUBBED_FOR).await;
        assert!(tool(&secrets).await.unwrap() == value(most), "there is room again");
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_that_was_removed_and_comes_back_has_its_old_values_hidden() {
    let fake = fake(Ok(Some("one")));
    let secrets = Secrets::new([key(&fake)]);
    tool(&secrets).await.unwrap();
    change(&secrets, &fake, "two").await;
    secrets.reload([]);
    secrets.refresh().await;
    assert_eq!(tool(&secrets).await, Err(SecretError::Unknown(name("tool"))));
    fake.says(Ok(Some("three")));
    secrets.reload([key(&fake)]);
    assert_eq!(hidden(&secrets).await, ["three", "two", "one"]);
    secrets.reload([]);
    tokio::time::advance(SCRUBBED_FOR).await;
    secrets.refresh().await;
    assert!(secrets.pasts().is_empty(), "nothing is kept for longer");
    secrets.reload([key(&fake)]);
    assert_eq!(hidden(&secrets).await, ["three"]);
}

#[tokio::test(start_paused = true)]
async fn the_time_of_a_value_whose_key_is_removed_begins_then() {
    let fake = fake(Ok(Some("one")));
    let secrets = Secrets::new([key(&fake)]);
    tool(&secrets).await.unwrap();
    tokio::time::advance(SCRUBBED_FOR).await;
    secrets.reload([]);
    tokio::time::advance(SCRUBBED_FOR - Duration::from_secs(1)).await;
    fake.says(Ok(Some("two")));
    secrets.reload([key(&fake)]);
    assert_eq!(hidden(&secrets).await, ["two", "one"]);
}

#[tokio::test(start_paused = true)]
async fn what_an_exchange_of_before_a_reload_loads_after_it_is_hidden_as_well() {
    let (old, new) = (fake(Ok(Some("old"))), fake(Ok(Some("new"))));
    let secrets = Secrets::new([key(&old)]);
    let before = secrets.table();
    secrets.reload([key(&new)]);
    assert_eq!(hidden(&secrets).await, ["new"]);
    let mut late = Keys::default();
    secrets.add(&before, &mut late, &name("tool")).await.unwrap();
    assert_eq!(late.get(&name("tool")).unwrap().expose(), b"old");
    assert_eq!(hidden(&secrets).await, ["new", "old"]);
}

#[tokio::test(start_paused = true)]
async fn a_removed_key_is_an_error_that_names_it_and_stays_hidden() {
    let fake = fake(Ok(Some("one")));
    let secrets = Secrets::new([key(&fake)]);
    tool(&secrets).await.unwrap();
    let generation = secrets.generation(&name("tool"));
    fake.says(Ok(None));
    tokio::time::advance(Duration::from_secs(1)).await;
    let e = tool(&secrets).await.unwrap_err();
    assert_eq!(e.to_string(), "key tool has no value: looked in the fake");
    assert_eq!(e.next(), "store it with 'locum key set tool'");
    assert_ne!(secrets.generation(&name("tool")), generation);
    assert_eq!(hidden(&secrets).await, ["one"]);
}

#[tokio::test(start_paused = true)]
async fn a_source_that_fails_for_a_moment_changes_no_generation_and_gives_nothing_out() {
    let fake = fake(Ok(Some("one")));
    let secrets = Secrets::new([key(&fake)]);
    tool(&secrets).await.unwrap();
    let generation = secrets.generation(&name("tool"));
    fake.says(Err("it is locked"));
    tokio::time::advance(Duration::from_secs(1)).await;
    let e = tool(&secrets).await.unwrap_err();
    assert_eq!((e.to_string().as_str(), e.next().as_str()), ("key tool can't be had: it is locked", "mend it"));
    assert_eq!(hidden(&secrets).await, ["one"]);
    fake.says(Ok(Some("one")));
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(tool(&secrets).await.unwrap(), "one");
    assert_eq!(secrets.generation(&name("tool")), generation);
}

#[tokio::test(start_paused = true)]
async fn many_that_ask_at_once_ask_the_source_once() {
    let fake = fake(Ok(Some("one")));
    let secrets = Arc::new(Secrets::new([key(&fake)]));
    let asking: Vec<_> = (0..200)
        .map(|_| {
            let secrets = secrets.clone();
            tokio::spawn(async move { tool(&secrets).await })
        })
        .collect();
    for one in asking {
        assert_eq!(one.await.unwrap().unwrap(), "one");
    }
    assert_eq!(fake.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn after_a_wipe_nothing_is_given_out_until_a_reload() {
    let fake = fake(Ok(Some("one")));
    let secrets = Secrets::new([key(&fake)]);
    let mut held = Keys::default();
    secrets.add(&secrets.table(), &mut held, &name("tool")).await.unwrap();
    let generation = secrets.generation(&name("tool"));
    secrets.wipe();
    secrets.refresh().await;
    assert_eq!(tool(&secrets).await, Err(SecretError::Wiped(name("tool"))));
    assert!(hidden(&secrets).await.is_empty());
    assert_ne!(secrets.generation(&name("tool")), generation);
    assert_eq!(fake.asked(), 1);
    assert_eq!(held.get(&name("tool")).unwrap().expose(), b"one", "what is under way ends as it began");
    secrets.reload([key(&fake)]);
    assert_eq!(tool(&secrets).await.unwrap(), "one");
}

/// Two wait for a slow source, and a wipe comes meanwhile: neither gets the key, and nothing of it stays.
#[test]
fn who_waits_for_a_slow_source_gets_nothing_after_a_wipe() {
    let fake = fake(Ok(Some("one")));
    let secrets = Arc::new(Secrets::new([key(&fake)]));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    // the source hangs as long as the test holds what it says
    let says = fake.says.lock().unwrap();
    let ask = |secrets: Arc<Secrets>| runtime.spawn(async move { tool(&secrets).await });
    let waiting = [ask(secrets.clone()), ask(secrets.clone())];
    runtime.block_on(tokio::task::yield_now());
    secrets.wipe();
    drop(says);
    for one in waiting {
        assert_eq!(runtime.block_on(one).unwrap(), Err(SecretError::Wiped(name("tool"))));
    }
    assert!(fake.asked() <= 1, "asked again after the wipe");
    assert!(secrets.table.load().values().all(|entry| entry.state.load().value.is_none()));
}

#[tokio::test(start_paused = true)]
async fn a_source_that_keeps_failing_is_asked_by_itself_ever_more_rarely() {
    let fake = fake(Err("it is locked"));
    let secrets = Secrets::new([key(&fake)]);
    assert!(tool(&secrets).await.is_err());
    for _ in 0..600 {
        tokio::time::advance(Duration::from_secs(1)).await;
        secrets.refresh().await;
    }
    assert!((10..20).contains(&fake.asked()), "{}", fake.asked());
    let before = fake.asked();
    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(tool(&secrets).await.is_err());
    assert_eq!(fake.asked(), before + 1, "whoever needs the key is not made to wait");
}

#[tokio::test(start_paused = true)]
async fn a_key_that_may_be_there_and_is_not_known_is_told_from_one_that_is_not_there() {
    for (says, exposed) in [(Ok(Some("one")), false), (Ok(None), false), (Err("it is locked"), true)] {
        let secrets = Secrets::new([key(&fake(says))]);
        let mut keys = Keys::default();
        secrets.try_add(&secrets.table(), &mut keys, &name("tool")).await;
        assert_eq!(keys.unhidden().is_some(), exposed, "{says:?}");
    }
    // what it was before still hides it
    let fake = fake(Ok(Some("one")));
    let secrets = Secrets::new([key(&fake)]);
    tool(&secrets).await.unwrap();
    fake.says(Err("it is locked"));
    tokio::time::advance(Duration::from_secs(1)).await;
    let mut keys = Keys::default();
    secrets.try_add(&secrets.table(), &mut keys, &name("tool")).await;
    assert!(keys.unhidden().is_none());
    secrets.wipe();
    let mut keys = Keys::default();
    secrets.try_add(&secrets.table(), &mut keys, &name("tool")).await;
    assert!(keys.unhidden().is_some());
}

#[tokio::test(start_paused = true)]
async fn while_its_source_fails_a_value_is_hidden_and_put_nowhere() {
    let fake = fake(Ok(Some("one")));
    let secrets = Secrets::new([key(&fake)]);
    tool(&secrets).await.unwrap();
    let generation = secrets.generation(&name("tool"));
    let told = || (secrets.may_be_used(&name("tool"), generation), secrets.is_known(&name("tool"), generation));
    assert_eq!(told(), (true, true));
    fake.says(Err("it is locked"));
    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(tool(&secrets).await.is_err());
    assert_eq!(told(), (false, true));
    tokio::time::advance(CHECK_EVERY).await;
    assert_eq!(told(), (false, true), "it is left alone for a while");
    tokio::time::advance(CHECK_EVERY).await;
    assert_eq!(told(), (false, false), "it is time to ask again");
    assert!(tool(&secrets).await.is_err());
    assert_eq!(told(), (false, true));
    secrets.wipe();
    assert_eq!(told(), (false, false));
}

#[tokio::test(start_paused = true)]
async fn a_reload_loads_again_at_once_and_forgets_what_is_no_longer_listed() {
    let one = fake(Ok(Some("one")));
    let secrets = Secrets::new([key(&one)]);
    tool(&secrets).await.unwrap();
    let generation = secrets.generation(&name("tool"));
    secrets.reload([key(&fake(Ok(Some("two"))))]);
    assert_eq!(tool(&secrets).await.unwrap(), "two");
    assert_eq!(hidden(&secrets).await, ["two", "one"]);
    let second = secrets.generation(&name("tool"));
    secrets.reload([]);
    assert_eq!(tool(&secrets).await, Err(SecretError::Unknown(name("tool"))));
    let gone = secrets.generation(&name("tool"));
    secrets.reload([key(&one)]);
    assert_eq!(tool(&secrets).await.unwrap(), "one");
    let mut seen = vec![generation, second, gone, secrets.generation(&name("tool"))];
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 4);
}

#[tokio::test]
async fn what_was_judged_before_a_reload_gets_the_keys_of_before() {
    let secrets = Secrets::new([key(&fake(Ok(Some("old"))))]);
    let before = secrets.table();
    let after = secrets.reload([key(&fake(Ok(Some("new"))))]);
    for (table, value) in [(&before, "old"), (&after, "new"), (&secrets.table(), "new"), (&before, "old")] {
        let mut keys = Keys::default();
        secrets.add(table, &mut keys, &name("tool")).await.unwrap();
        assert_eq!(keys.get(&name("tool")).unwrap().expose(), value.as_bytes());
    }
    secrets.wipe();
    let refused = secrets.add(&before, &mut Keys::default(), &name("tool")).await;
    assert_eq!(refused, Err(SecretError::Wiped(name("tool"))));
}

/// How often keys change under their readers. The full run takes more than the usual one.
fn changes() -> usize {
    std::env::var("LOCUM_TEST_CHANGES").ok().and_then(|n| n.parse().ok()).unwrap_or(300)
}

/// As in the service: readers with a thread and a runtime of their own, one that rotates and one that wipes.
#[test]
fn readers_of_keys_that_change_under_them_see_one_whole_value_or_that_it_was_wiped() {
    let fake = fake(Ok(Some("0")));
    let secrets = Secrets::new([key(&fake)]);
    let done = AtomicBool::new(false);
    let run = |work: &mut dyn FnMut(&tokio::runtime::Runtime)| {
        work(&tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap());
    };
    std::thread::scope(|s| {
        for _ in 0..4 {
            s.spawn(|| {
                run(&mut |runtime| {
                    let mut last = 0;
                    while !done.load(Ordering::Relaxed) {
                        match runtime.block_on(tool(&secrets)) {
                            Ok(value) => {
                                let value: usize = value.parse().unwrap();
                                assert!(value >= last, "{value} after {last}");
                                last = value;
                            }
                            Err(e) => assert_eq!(e, SecretError::Wiped(name("tool"))),
                        }
                        runtime.block_on(hidden(&secrets));
                    }
                });
            });
        }
        s.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                secrets.wipe();
                secrets.reload([key(&fake)]);
            }
        });
        run(&mut |runtime| {
            for change in 1..=changes() {
                fake.says(Ok(Some(&change.to_string())));
                secrets.reload([key(&fake)]);
                runtime.block_on(secrets.refresh());
            }
        });
        done.store(true, Ordering::Relaxed);
    });
    secrets.reload([key(&fake)]);
    run(&mut |runtime| assert_eq!(runtime.block_on(tool(&secrets)).unwrap(), changes().to_string()));
}

#[tokio::test(start_paused = true)]
async fn a_survey_tells_what_is_there_and_shows_no_value() {
    let long = fake(Ok(Some("sk-0123456789abcdefghij")));
    let other = KeySource { name: name("a"), source: fake(Ok(None)) };
    let secrets = Secrets::new([key(&long), other]);
    let seen = secrets.survey().await;
    assert_eq!(seen[0].masked.as_ref().unwrap_err().key(), &name("a"));
    assert_eq!(seen[1].masked, Ok("…ghij".into()));
    assert_eq!(seen[1].source, "the fake");
    assert_eq!(masked(b"0123456789012345678"), "…");
    let mut keys = Keys::default();
    for asked in ["tool", "a", "tool"] {
        secrets.try_add(&secrets.table(), &mut keys, &name(asked)).await;
    }
    assert_eq!(format!("{keys:?}"), r#"["tool", "a"]"#);
    assert!(keys.get(&name("a")).is_none() && keys.missing(&name("a")).is_some());
}

/// As a program does that fails after three seconds, and five requests that need its key.
#[tokio::test(start_paused = true)]
#[allow(clippy::await_holding_lock, reason = "the source hangs by it, and it has a thread of its own")]
async fn who_waits_for_a_source_that_is_slow_to_fail_shares_its_failure() {
    let fake = fake(Err("it is slow"));
    let secrets = Arc::new(Secrets::new([key(&fake)]));
    let spawn_five = || {
        let ask = |_| {
            let secrets = secrets.clone();
            tokio::spawn(async move { tool(&secrets).await })
        };
        (0..5).map(ask).collect::<Vec<_>>()
    };
    for round in 1..=2 {
        // the source hangs as long as the test holds what it says
        let says = fake.says.lock().unwrap();
        let waiting = spawn_five();
        tokio::task::yield_now().await;
        tokio::time::advance(Duration::from_secs(3)).await;
        drop(says);
        for one in waiting {
            assert!(one.await.unwrap().unwrap_err().to_string().ends_with("it is slow"));
        }
        for one in spawn_five() {
            assert!(one.await.unwrap().is_err(), "who comes just behind is told the same");
        }
        assert_eq!(fake.asked(), round, "one run for all that wait");
        tokio::time::advance(CHECK_EVERY).await;
    }
    fake.says(Ok(Some("one")));
    assert_eq!(tool(&secrets).await.unwrap(), "one", "who comes later does ask");
}

/// Two sources, each of which says something only once the other was asked.
#[tokio::test]
async fn the_sources_of_one_request_are_asked_side_by_side() {
    struct Meets(Arc<std::sync::Barrier>);

    impl SecretSource for Meets {
        fn describe(&self) -> String {
            "one of two".into()
        }

        fn load(&self) -> Result<Option<Plaintext>, SourceError> {
            self.0.wait();
            Ok(Some(Plaintext::new(b"met".to_vec())))
        }
    }

    let barrier = Arc::new(std::sync::Barrier::new(2));
    let key = |s: &str| KeySource { name: name(s), source: Arc::new(Meets(barrier.clone())) };
    let secrets = Secrets::new([key("a"), key("b")]);
    let (a, b) = (name("a"), name("b"));
    let keys = secrets.open_to_hide(&secrets.table(), &[a.clone(), b.clone(), a.clone()]).await;
    assert!(keys.get(&a).is_some() && keys.get(&b).is_some());
}
