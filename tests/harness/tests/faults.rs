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

fn ping(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
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
fn proxy_forwards_requests_and_counts_them() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port());
    let mut client = connect(&proxy).unwrap();
    for _ in 0..3 {
        assert_eq!(ping(&mut client).unwrap(), PONG);
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
    assert_eq!(ping(&mut client).unwrap(), PONG);
    assert!(begin.elapsed() >= delay);
}

#[test]
fn a_swallowed_request_is_never_answered() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port());
    let mut client = connect(&proxy).unwrap();
    assert_eq!(ping(&mut client).unwrap(), PONG);
    proxy.set_mode(Mode::Swallow);
    proxy.set_mode(Mode::Pass);
    client.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let error = ping(&mut client).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}");
    eventually("the request was read", || proxy.bytes_sent() == 2 * PING.len() as u64);
    assert_eq!(ping(&mut connect(&proxy).unwrap()).unwrap(), PONG);
}

#[test]
fn client_sees_a_connection_reset() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port());
    let mut old = connect(&proxy).unwrap();
    assert_eq!(ping(&mut old).unwrap(), PONG);
    proxy.set_mode(Mode::Reset);
    let error = old.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);

    let error = ping(&mut connect(&proxy).unwrap()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[test]
fn a_cut_answer_ends_where_it_was_cut() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port());
    let mut client = connect(&proxy).unwrap();
    proxy.set_mode(Mode::Truncate(3));
    assert_eq!(ping(&mut client).unwrap(), PONG[..3]);
}

#[test]
fn a_refused_connection_is_refused_until_the_mode_changes() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port());
    let mut old = connect(&proxy).unwrap();
    assert_eq!(ping(&mut old).unwrap(), PONG);
    proxy.set_mode(Mode::Refuse);
    assert_eq!(old.read(&mut [0]).unwrap(), 0);
    assert_eq!(connect(&proxy).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    proxy.set_mode(Mode::Pass);
    assert_eq!(ping(&mut connect(&proxy).unwrap()).unwrap(), PONG);
}

#[test]
fn a_server_can_be_frozen_and_thawed() {
    let server = RedisServer::start();
    let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, server.port())).unwrap();
    assert_eq!(ping(&mut client).unwrap(), PONG);
    server.freeze();
    client.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    assert!(ping(&mut client).is_err());
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

#[test]
fn jitter_delays_differently_and_within_its_limits() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port());
    let mut client = connect(&proxy).unwrap();
    proxy.set_mode(Mode::Jitter(Duration::from_millis(5), Duration::from_millis(25)));
    let took: Vec<_> = (0..10)
        .map(|_| {
            let begin = Instant::now();
            assert_eq!(ping(&mut client).unwrap(), PONG);
            begin.elapsed()
        })
        .collect();
    assert!(took.iter().all(|took| *took >= Duration::from_millis(5)), "{took:?}");
    // Ten times between 5 and 25 ms are less than 70 ms once in ten factorial, which is 2.8 in ten million.
    let total = took.iter().sum::<Duration>();
    assert!(total >= Duration::from_millis(70), "they would all have been the least: {took:?}");
}

#[test]
fn pieces_add_up_to_the_whole_reply() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port());
    let mut client = connect(&proxy).unwrap();
    proxy.set_mode(Mode::Pieces(2));
    // The system may hand over several pieces at once.
    assert_eq!(ping(&mut client).unwrap(), PONG);
    eventually("each was one", || proxy.pieces() == PONG.len().div_ceil(2));
}

#[test]
fn a_torn_answer_ends_with_a_reset() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port());
    let mut client = connect(&proxy).unwrap();
    proxy.set_mode(Mode::Tear(3));
    client.write_all(PING).unwrap();
    let mut answer = Vec::new();
    let end = client.read_to_end(&mut answer).unwrap_err();
    assert_eq!(end.kind(), ErrorKind::ConnectionReset);
    assert_eq!(answer, PONG[..3]);
}

/// A connection that is told when `key` changes.
fn tracking(proxy: &Proxy, server: &RedisServer) -> TcpStream {
    let mut client = connect(proxy).unwrap();
    client.write_all(b"HELLO 3\r\nCLIENT TRACKING ON\r\nGET key\r\n").unwrap();
    read_until(&mut client, "_\r\n");
    server.cli(&["SET", "key", "1"]);
    client
}

fn read_until(client: &mut TcpStream, end: &str) -> String {
    let (mut text, mut buffer) = (String::new(), [0; 1024]);
    while !text.ends_with(end) {
        let length = client.read(&mut buffer).unwrap();
        assert!(length > 0, "the connection ended after {text:?}");
        text += &String::from_utf8_lossy(&buffer[..length]);
    }
    text
}

#[test]
fn pushes_are_dropped_and_nothing_else() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port());
    let delete_and_read = |proxy: &Proxy| {
        let mut client = tracking(proxy, &server);
        client.write_all(PING).unwrap();
        let text = read_until(&mut client, "+PONG\r\n");
        server.cli(&["DEL", "key"]);
        text
    };
    assert_eq!(delete_and_read(&proxy), ">2\r\n$10\r\ninvalidate\r\n*1\r\n$3\r\nkey\r\n+PONG\r\n");
    proxy.set_mode(Mode::DropPushes);
    assert_eq!(delete_and_read(&proxy), "+PONG\r\n");
}

#[test]
fn injected_bytes_arrive_between_two_frames() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port());
    let mut client = connect(&proxy).unwrap();
    assert_eq!(ping(&mut client).unwrap(), PONG);
    proxy.inject(b">0\r\n");
    client.write_all(PING).unwrap();
    assert_eq!(read_until(&mut client, "+PONG\r\n"), ">0\r\n+PONG\r\n");
    assert_eq!(ping(&mut client).unwrap(), PONG);
}
