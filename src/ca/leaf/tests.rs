use super::*;
use crate::ca::{Scope, Subtree};
use rustls::pki_types::{CertificateDer, ServerName};
use x509_parser::prelude::*;

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn authority(scope: &Scope) -> Arc<Authority> {
    Arc::new(Authority::generate(SystemTime::now(), "test", scope).unwrap())
}

fn of(authority: &Arc<Authority>) -> Leaves {
    Leaves::new(authority.clone(), provider()).unwrap()
}

fn leaves() -> Leaves {
    of(&authority(&Scope::Any))
}

fn host(name: &str) -> Host {
    name.parse().unwrap()
}

fn name(host: &Host) -> ServerName<'static> {
    match host {
        Host::Dns(n) => n.to_string().try_into().unwrap(),
        Host::Ip(ip) => ServerName::from(*ip),
    }
}

/// A handshake in memory, by a client that trusts the root of `authority` and nothing else: the certificates that it got, or
/// why it refused them.
fn handshake(
    authority: &Authority,
    config: Arc<ServerConfig>,
    host: &Host,
) -> Result<Vec<CertificateDer<'static>>, rustls::Error> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority.certificate().clone()).unwrap();
    let client = rustls::ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
    let client = client.with_root_certificates(roots).with_no_client_auth();
    let mut client = rustls::ClientConnection::new(Arc::new(client), name(host)).unwrap();
    let mut server = rustls::ServerConnection::new(config).unwrap();
    while client.is_handshaking() || server.is_handshaking() {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        server.read_tls(&mut &wire[..]).unwrap();
        server.process_new_packets()?;
        wire.clear();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        let mut rest = &wire[..];
        while !rest.is_empty() {
            client.read_tls(&mut rest).unwrap();
            client.process_new_packets()?;
        }
    }
    Ok(client.peer_certificates().unwrap().to_vec())
}

/// The certificates that a client of `host` gets.
fn certificates(authority: &Arc<Authority>, host: &Host) -> Vec<CertificateDer<'static>> {
    handshake(authority, of(authority).config(host, SystemTime::now()).unwrap(), host).unwrap()
}

fn has(cert: &X509Certificate<'_>, extension: &str) -> bool {
    cert.extensions().iter().any(|e| e.oid.to_id_string() == extension)
}

const AUTHORITY_KEY_ID: &str = "2.5.29.35";
const SUBJECT_KEY_ID: &str = "2.5.29.14";

#[test]
fn a_leaf_has_the_shape_that_strict_clients_ask_for() {
    let authority = authority(&Scope::Any);
    let mut serials = std::collections::HashSet::new();
    let long = format!("{}.example.com", "a".repeat(60));
    for host in ["api.example.com", "127.0.0.1", "[2001:db8::1]", &long, "xn--bcher-kva.example"] {
        let shown = certificates(&authority, &host.parse().unwrap());
        let (_, cert) = parse_x509_certificate(&shown[0]).unwrap();
        assert!(!cert.is_ca() && cert.basic_constraints().unwrap().unwrap().critical, "{host}");
        assert!(cert.key_usage().unwrap().unwrap().value.digital_signature());
        assert!(cert.extended_key_usage().unwrap().unwrap().value.server_auth);
        assert!(has(&cert, AUTHORITY_KEY_ID));
        let validity = cert.validity();
        let seconds = validity.not_after.timestamp() - validity.not_before.timestamp();
        assert!(seconds <= LEAF_LIFETIME.as_secs() as i64);
        let san = cert.subject_alternative_name().unwrap().unwrap();
        let is_ip = matches!(san.value.general_names[0], GeneralName::IPAddress(_));
        assert_eq!(is_ip, matches!(host.parse::<Host>().unwrap(), Host::Ip(_)), "{host}");
        assert!(serials.insert(cert.raw_serial().to_vec()), "serials are unique");
    }
}

/// When a leaf begins, in hours before now.
fn begun(authority: Authority, now: SystemTime) -> i64 {
    let shown = certificates(&Arc::new(authority), &host("a.example"));
    let begun = parse_x509_certificate(&shown[0]).unwrap().1.validity().not_before.timestamp();
    let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    (i64::try_from(now).unwrap() - begun) / 3600
}

#[test]
fn a_leaf_suits_clocks_that_are_behind_and_is_not_older_than_who_signed_it() {
    let (now, age) = (SystemTime::now(), Duration::from_secs(3 * 24 * 3600));
    assert_eq!(begun(Authority::generate(now, "box", &Scope::Any).unwrap(), now), 48);
    assert_eq!(begun(Authority::generate(now - age, "box", &Scope::Any).unwrap(), now), 48);
    // one's own authority, made a minute ago and not dated back
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.not_before = (now - Duration::from_secs(60)).into();
    params.not_after = (now + age).into();
    let pem = params.self_signed(&key).unwrap().pem() + &key.serialize_pem();
    assert_eq!(begun(Authority::from_pem(pem.as_bytes(), "test").unwrap(), now), 0);
}

/// The root could sign one thing alone, and its key is gone; the intermediate signs leaves alone.
#[test]
fn the_root_signs_an_intermediate_and_that_one_signs_leaves_only() {
    for scope in [Scope::Any, Scope::only([Subtree::Dns("a.example".into())])] {
        let authority = authority(&scope);
        let shown = certificates(&authority, &host("a.example"));
        assert_eq!((shown.len(), &shown[1]), (3, &authority.intermediates()[0]));
        assert_eq!(&shown[2], authority.certificate(), "clients that look for a pinned key find the root's");
        for (der, path_len) in [(authority.certificate(), 1), (&shown[1], 0)] {
            let (_, cert) = parse_x509_certificate(der).unwrap();
            let basic = cert.basic_constraints().unwrap().unwrap();
            assert!(basic.critical && basic.value.ca && basic.value.path_len_constraint == Some(path_len));
            let usage = cert.key_usage().unwrap().unwrap();
            assert!(usage.critical && usage.value.key_cert_sign() && !usage.value.digital_signature());
            assert!(has(&cert, SUBJECT_KEY_ID) && has(&cert, AUTHORITY_KEY_ID));
            let constraints = cert.name_constraints().unwrap();
            let permitted = constraints.map(|c| (c.critical, c.value.permitted_subtrees.as_ref().unwrap().len()));
            assert_eq!(permitted, (scope != Scope::Any).then_some((true, 1)));
        }
        let (_, intermediate) = parse_x509_certificate(&shown[1]).unwrap();
        let usage = intermediate.extended_key_usage().unwrap().unwrap().value;
        assert!(usage.server_auth && !usage.any && !usage.client_auth);
        // what is kept has the one key, and that is the intermediate's
        let kept = authority.to_pem_with_key();
        let key = rcgen::KeyPair::from_pem(&kept[kept.find("-----BEGIN PRIVATE KEY").unwrap()..]).unwrap();
        assert_eq!(kept.matches("PRIVATE KEY").count(), 2);
        assert_eq!(intermediate.public_key().subject_public_key.data.as_ref(), key.public_key_raw());
    }
}

/// A leaf of this authority whatever its constraints say, as a thief of its key would sign it.
fn forged(authority: &Arc<Authority>, host: &Host) -> Arc<ServerConfig> {
    of(authority).mint(authority, host, SystemTime::now()).unwrap().config
}

#[test]
fn a_leaf_outside_of_the_constraints_is_neither_made_nor_taken() {
    let subtrees = |names: &[&str]| names.iter().map(|n| Subtree::from(&host(n))).collect::<Vec<_>>();
    for (listed, inside, outside) in [
        (
            &["api.example.com", "b.example"][..],
            &["api.example.com", "x.api.example.com", "b.example"][..],
            &["example.com", "xapi.example.com", "127.0.0.1", "[::1]"][..],
        ),
        (&["127.0.0.1"], &["127.0.0.1"], &["127.0.0.2", "[::1]", "a.example"]),
        (&["[2001:db8::1]"], &["[2001:db8::1]"], &["127.0.0.1", "[2001:db8::2]", "a.example"]),
        (&["127.0.0.1", "a.example"], &["127.0.0.1", "a.example"], &["[::1]", "10.0.0.1", "b.example"]),
        (&["127.0.0.1", "[::1]"], &["127.0.0.1", "[::1]"], &["127.0.0.2", "[::2]", "b.example"]),
        (&[], &[], &["127.0.0.1", "[::1]", "a.example"]),
    ] {
        let authority = authority(&Scope::only(subtrees(listed)));
        for name in inside {
            assert!(authority.covers(&host(name)), "{name} in {listed:?}");
            assert_eq!(certificates(&authority, &host(name)).len(), 3);
        }
        for name in outside {
            let made = of(&authority).config(&host(name), SystemTime::now());
            assert!(matches!(made, Err(CaError::NotCovered(_))), "{name} in {listed:?}");
            let refused = handshake(&authority, forged(&authority, &host(name)), &host(name)).unwrap_err().to_string();
            assert!(
                refused.contains("NameConstraintViolation") || refused.contains("name constraint"),
                "{name} in {listed:?}: {refused}"
            );
        }
    }
}

#[test]
fn an_authority_without_an_intermediate_still_signs() {
    let (_, old) = crate::ca::authority::tests::single();
    assert_eq!(certificates(&Arc::new(old), &host("a.example")).len(), 2);
}

/// While one authority waits to follow another it already signs what the other may not.
#[test]
fn the_next_one_signs_at_once_what_the_other_does_not_cover() {
    let only = |name: &str| Scope::only([Subtree::Dns(name.into())]);
    let (old, new) = (authority(&only("a.example")), authority(&only("example")));
    let leaves = of(&old);
    assert!(leaves.covers(&host("a.example")) && !leaves.covers(&host("b.example")));
    leaves.sign_by(old.clone(), Some(new.clone()));
    let signed = |leaves: &Leaves, authority: &Arc<Authority>, name: &str| {
        handshake(authority, leaves.config(&host(name), SystemTime::now()).unwrap(), &host(name)).is_ok()
    };
    assert!(signed(&leaves, &old, "a.example") && signed(&leaves, &new, "b.example"));
    assert!(!signed(&leaves, &new, "a.example"), "its time has not come");
    leaves.sign_by(new.clone(), None);
    assert!(signed(&leaves, &new, "a.example") && !signed(&leaves, &old, "a.example"));
}

#[test]
fn a_host_is_minted_once_and_again_before_it_expires() {
    let leaves = leaves();
    let host = host("a.example");
    let now = SystemTime::now();
    let first = leaves.config(&host, now).unwrap();
    assert!(Arc::ptr_eq(&first, &leaves.config(&host, now).unwrap()));
    let later = leaves.config(&host, now + LEAF_LIFETIME - RENEW_BEFORE).unwrap();
    assert!(!Arc::ptr_eq(&first, &later));
    assert!(Arc::ptr_eq(&later, &leaves.config(&host, now + LEAF_LIFETIME - RENEW_BEFORE).unwrap()));
}

#[test]
fn ten_thousand_hosts_are_not_kept() {
    let leaves = leaves();
    for i in 0..3000 {
        leaves.config(&format!("h{i}.example").parse().unwrap(), SystemTime::now()).unwrap();
    }
    assert!(leaves.signers.load().current.cache.len() <= KEPT_HOSTS);
}
