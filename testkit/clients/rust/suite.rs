//! What the MQTT adapter offers to rumqttc, of MQTT 3.1.1 and of 5. Each test has topics of its own.

use rumqttc::v5::mqttbytes::v5::{Packet as Packet5, PublishProperties};
use rumqttc::v5::mqttbytes::QoS as QoS5;
use rumqttc::{v5, Client, Connection, Event, MqttOptions, Packet, QoS};
use std::time::Duration;

/// Only a test that fails waits for so long.
const PATIENCE: Duration = Duration::from_secs(30);

fn at() -> (String, u16) {
    let at = std::env::var("RMQ_MQTT").expect("RMQ_MQTT");
    let (host, port) = at.split_once(':').expect("host:port");
    (host.to_string(), port.parse().expect("port"))
}

fn connect(id: &str, clean: bool) -> (Client, Connection) {
    let (host, port) = at();
    let mut o = MqttOptions::new(id, host, port);
    o.set_clean_session(clean);
    Client::new(o, 100)
}

/// The next packet that `wanted` makes something of.
fn next<T>(c: &mut Connection, wanted: impl Fn(Packet) -> Option<T>) -> T {
    loop {
        if let Event::Incoming(p) = c.recv_timeout(PATIENCE).expect("nothing came").expect("connection") {
            if let Some(v) = wanted(p) {
                return v;
            }
        }
    }
}

fn payload(p: Packet) -> Option<(Vec<u8>, u8)> {
    match p {
        Packet::Publish(p) => Some((p.payload.to_vec(), p.qos as u8)),
        _ => None,
    }
}

fn qos() {
    let (c, mut conn) = connect("qos", true);
    for granted in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        c.subscribe(format!("rust/{}", granted as u8), granted).unwrap();
        next(&mut conn, |p| matches!(p, Packet::SubAck(_)).then_some(()));
        for sent in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
            c.publish(format!("rust/{}", granted as u8), sent, false, vec![sent as u8]).unwrap();
            assert_eq!(next(&mut conn, payload), (vec![sent as u8], (granted as u8).min(sent as u8)));
        }
    }
}

fn session() {
    let (c, mut conn) = connect("session", false);
    c.subscribe("rust/session", QoS::AtLeastOnce).unwrap();
    next(&mut conn, |p| matches!(p, Packet::SubAck(_)).then_some(()));
    drop((c, conn)); // the connection breaks

    let (p, mut sent) = connect("session-pub", true);
    for i in 0..20u8 {
        p.publish("rust/session", QoS::AtLeastOnce, false, vec![i]).unwrap();
        next(&mut sent, |p| matches!(p, Packet::PubAck(_)).then_some(()));
    }
    let (_again, mut conn) = connect("session", false);
    assert!(next(&mut conn, |p| match p {
        Packet::ConnAck(a) => Some(a.session_present),
        _ => None,
    }));
    for i in 0..20u8 {
        assert_eq!(next(&mut conn, payload).0, vec![i]);
    }
}

fn properties() {
    let (host, port) = at();
    let (c, mut conn) = v5::Client::new(v5::MqttOptions::new("five", host, port), 100);
    let mut next = |wanted: fn(Packet5) -> Option<Vec<(String, String)>>| loop {
        if let v5::Event::Incoming(p) = conn.recv_timeout(PATIENCE).expect("nothing came").expect("connection") {
            if let Some(v) = wanted(p) {
                return v;
            }
        }
    };
    c.subscribe("rust/five", QoS5::ExactlyOnce).unwrap();
    next(|p| matches!(p, Packet5::SubAck(_)).then(Vec::new));
    let user = vec![("a".to_string(), "1".to_string()), ("a".to_string(), "2".to_string())];
    let with = PublishProperties { user_properties: user.clone(), ..Default::default() };
    c.publish_with_properties("rust/five", QoS5::ExactlyOnce, false, "x", with).unwrap();
    let got = next(|p| match p {
        Packet5::Publish(p) => Some(p.properties.unwrap_or_default().user_properties),
        _ => None,
    });
    assert_eq!(got, user);
}

fn main() {
    let tests: [(&str, fn()); 3] = [("QoS", qos), ("session", session), ("properties of 5", properties)];
    let (mut passed, mut failed) = (0, 0);
    for (name, test) in tests {
        let ok = std::panic::catch_unwind(test).is_ok();
        println!("{}  {}", if ok { "ok  " } else { "FAIL" }, name);
        *(if ok { &mut passed } else { &mut failed }) += 1;
    }
    println!("{passed} passed, {failed} failed");
    std::process::exit((failed > 0) as i32);
}
