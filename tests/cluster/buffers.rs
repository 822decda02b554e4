//! Receive buffers belong to the whole core: nobody keeps them who is not looked at.

use std::{io::Write, net::TcpStream};

use crate::{
    session::{Answer, Session},
    stage::Stage,
    support::message::{query, startup, terminate},
};

/// The fewest buffers there may be; each of those who drip would keep nine of them.
fn stage(size: u32, lines: &[&str]) -> Stage {
    let stage = Stage::trusting(|config| {
        let config = config
            .workers(1)
            .set("runtime", "client_buffers = \"256KiB\"")
            .set("runtime", "high_water = \"16KiB\"")
            .set("pool", &format!("size = {size}"))
            .set("pool", "checkout_timeout = \"60s\"");
        lines
            .iter()
            .fold(config, |config, line| config.set("pool", line))
    });
    stage.sql("CREATE ROLE boss LOGIN");
    stage
}

/// Somebody with a pool of its own.
fn bystander(stage: &Stage) -> Session {
    let mut session = Session::login_as(stage.proxy.address(), "boss", "app").unwrap();
    works(&mut session);
    session
}

fn works(session: &mut Session) {
    for _ in 0..20 {
        assert_eq!(
            session.query("SELECT 1"),
            Answer::Rows(vec!["1".to_owned()])
        );
    }
}

/// Nine bytes from each, one at a time, of a message that does not end.
fn drip(sockets: &mut [TcpStream]) {
    for byte in b"Q\0\0\x01\0SELE" {
        for socket in &mut *sockets {
            socket.write_all(&[*byte]).unwrap();
        }
    }
}

fn connect(stage: &Stage) -> TcpStream {
    let socket = TcpStream::connect(stage.proxy.address()).unwrap();
    socket.set_nodelay(true).unwrap();
    socket
}

#[test]
fn who_waits_for_a_server_at_login_keeps_none() {
    let stage = stage(1, &["greeting_age = \"1ms\""]);
    let mut bystander = bystander(&stage);
    let mut holder = Session::login(stage.proxy.address()).unwrap();
    assert_eq!(
        holder.query("BEGIN; SELECT 1"),
        Answer::Rows(vec!["1".to_owned()])
    );
    let hello = startup(&[("user", "app"), ("database", "app")]);
    let mut waiting: Vec<_> = (0..100).map(|_| connect(&stage)).collect();
    for socket in &mut waiting {
        socket.write_all(&hello).unwrap();
    }
    drip(&mut waiting);
    works(&mut bystander);
    drip(&mut waiting);
    works(&mut bystander);
}

#[test]
fn who_has_said_goodbye_keeps_none() {
    let stage = stage(30, &[]);
    let mut bystander = bystander(&stage);
    let lock = "SELECT pg_advisory_xact_lock(7)";
    let mut holder = Session::login_as(stage.server.primary.address(), "app", "app").unwrap();
    assert!(matches!(
        holder.query(&format!("BEGIN; {lock}")),
        Answer::Rows(_)
    ));
    let hello = startup(&[("user", "app"), ("database", "app")]);
    let mut leaving: Vec<_> = (0..30).map(|_| connect(&stage)).collect();
    for socket in &mut leaving {
        socket.write_all(&hello).unwrap();
        socket.write_all(&query(lock)).unwrap();
        socket.write_all(&terminate()).unwrap();
    }
    drip(&mut leaving);
    works(&mut bystander);
    drip(&mut leaving);
    works(&mut bystander);
}
