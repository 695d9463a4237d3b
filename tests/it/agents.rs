//! Who may ask, as the commands on agents have it and as the service does.

use crate::support::Home;
use crate::support::stores::transcript;

#[test]
fn revoking_a_token_that_there_never_was_locks_nobody_out() {
    let home = Home::bare("");
    assert_eq!(
        transcript(&home, &["agent", "revoke", "nobody"], ""),
        "error: no token was made for nobody\n  next: 'locum agent list' shows those that have one\n[1]\n"
    );
    assert!(!home.state().join("agents.json").exists());
    let list = transcript(&home, &["agent", "list"], "");
    assert!(list.starts_with("no agent has a token: whoever runs as your user is 'local'"), "{list}");
}
