//! Each fault looks to a client like what it is named after.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Ipv4Addr, TcpStream},
    time::{Duration, Instant},
};

use redis_harness::{Mode, Proxy, RedisServer, eventually};

const PING: &[u8] = b"PING\r\n";
const PONG: &[u8] = b"+PONG\r\n";

fn connect(proxy: &Proxy) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port()))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    Ok(stream)
}

fn ask(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    stream.write_all(PING)?;
    let mut answer = vec![0; PONG.len()];
    let mut length = 0;
    while length < answer.len() {
        match stream.read(&mut answer[length..])? {
            0 => break,
            more => length += more,
        }
    }
    answer.truncate(length);
    Ok(answer)
}

#[test]
fn it_passes_on_and_counts() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port());
    let mut client = connect(&proxy).unwrap();
    for _ in 0..3 {
        assert_eq!(ask(&mut client).unwrap(), PONG);
    }
    assert_eq!(proxy.connections(), 1);
    assert_eq!(proxy.bytes_sent(), 3 * PING.len() as u64);
    assert_eq!(proxy.bytes_answered(), 3 * PONG.len() as u64);
    assert_eq!(proxy.take_round_trips(), [PING, PING, PING]);
    assert!(proxy.take_round_trips().is_empty());
}

#[test]
fn a_delay_delays() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port());
    let mut client = connect(&proxy).unwrap();
    let delay = Duration::from_millis(50);
    proxy.set_mode(Mode::Delay(delay));
    let begin = Instant::now();
    assert_eq!(ask(&mut client).unwrap(), PONG);
    assert!(begin.elapsed() >= delay);
}

#[test]
fn a_swallowed_request_is_never_answered() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port());
    let mut client = connect(&proxy).unwrap();
    assert_eq!(ask(&mut client).unwrap(), PONG);
    proxy.set_mode(Mode::Swallow);
    proxy.set_mode(Mode::Pass);
    client.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let error = ask(&mut client).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}");
    eventually("the request was read", || proxy.bytes_sent() == 2 * PING.len() as u64);
    assert_eq!(ask(&mut connect(&proxy).unwrap()).unwrap(), PONG);
}

#[test]
fn a_reset_is_a_reset() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port());
    let mut old = connect(&proxy).unwrap();
    assert_eq!(ask(&mut old).unwrap(), PONG);
    proxy.set_mode(Mode::Reset);
    let error = old.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);

    let error = ask(&mut connect(&proxy).unwrap()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[test]
fn a_cut_answer_ends_where_it_was_cut() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port());
    let mut client = connect(&proxy).unwrap();
    proxy.set_mode(Mode::Truncate(3));
    assert_eq!(ask(&mut client).unwrap(), PONG[..3]);
}

#[test]
fn a_refused_connection_is_refused_until_the_mode_changes() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port());
    let mut old = connect(&proxy).unwrap();
    assert_eq!(ask(&mut old).unwrap(), PONG);
    proxy.set_mode(Mode::Refuse);
    assert_eq!(old.read(&mut [0]).unwrap(), 0);
    assert_eq!(connect(&proxy).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    proxy.set_mode(Mode::Pass);
    assert_eq!(ask(&mut connect(&proxy).unwrap()).unwrap(), PONG);
}

#[test]
fn a_server_can_be_frozen_and_thawed() {
    let server = RedisServer::start();
    let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, server.port())).unwrap();
    client.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    assert_eq!(ask(&mut client).unwrap(), PONG);
    server.freeze();
    assert!(ask(&mut client).is_err());
    server.thaw();
    assert_eq!(server.cli(&["PING"]), "PONG");
}

#[test]
fn a_frozen_server_can_be_stopped() {
    let mut server = RedisServer::start();
    server.freeze();
    server.stop();
    assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, server.port())).is_err());
    server.restart();
    assert_eq!(server.cli(&["PING"]), "PONG");
}
