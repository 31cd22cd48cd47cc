use proptest::prelude::*;
use smoltcp::wire::{DhcpMessageType, DhcpPacket, DhcpRepr};

use super::*;

const MAC: [u8; 6] = [0x52, 0x54, 0, 1, 2, 3];
const XID: u32 = 7;
const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);

/// A server's answer to a client's message.
fn reply(question: &[u8], kind: DhcpMessageType, change: impl Fn(&mut DhcpRepr<'_>)) -> Vec<u8> {
    let packet = DhcpPacket::new_checked(question).unwrap();
    let mut repr = DhcpRepr::parse(&packet).unwrap();
    repr.message_type = kind;
    repr.your_ip = ADDRESS;
    repr.requested_ip = None;
    repr.parameter_request_list = None;
    repr.server_identifier = Some(SERVER);
    repr.subnet_mask = Some(Ipv4Addr::new(255, 255, 255, 0));
    repr.router = Some(SERVER);
    repr.lease_duration = Some(3600);
    change(&mut repr);
    let mut bytes = vec![0; repr.buffer_len()];
    let mut packet = DhcpPacket::new_checked(bytes.as_mut_slice()).unwrap();
    repr.emit(&mut packet).unwrap();
    bytes
}

fn sent(client: &mut Client, now: Instant, to: To) -> Vec<u8> {
    match client.step(now) {
        Step::Send(bytes, found) => {
            assert_eq!(found, to);
            bytes
        }
        other => panic!("{other:?}"),
    }
}

fn waits(client: &mut Client, now: Instant) -> Duration {
    match client.step(now) {
        Step::Wait(until) => until - now,
        other => panic!("{other:?}"),
    }
}

fn bound(now: Instant) -> (Client, Lease) {
    let mut client = Client::new(MAC, XID, now);
    let discover = sent(&mut client, now, To::All);
    let offer = reply(&discover, DhcpMessageType::Offer, |_| {});
    assert_eq!(client.receive(&offer, now), None);
    let request = sent(&mut client, now, To::All);
    let ack = reply(&request, DhcpMessageType::Ack, |_| {});
    let lease = client.receive(&ack, now).unwrap();
    (client, lease)
}

#[test]
fn an_offer_becomes_a_lease_that_is_renewed_rebound_and_lost() {
    let start = Instant::now();
    let (mut client, lease) = bound(start);
    assert_eq!(lease.net.to_string(), "10.0.2.15/24");
    assert_eq!(lease.gateway, Some(SERVER));
    assert_eq!(waits(&mut client, start), Duration::from_mins(30));

    // T1: that server; each minute. T2: everybody. Then it is over.
    let t1 = start + Duration::from_mins(30);
    sent(&mut client, t1, To::Server(SERVER));
    assert_eq!(waits(&mut client, t1), Duration::from_mins(1));
    let t2 = start + Duration::from_secs(3150);
    let question = sent(&mut client, t2, To::All);
    let ack = reply(&question, DhcpMessageType::Ack, |_| {});
    assert!(client.receive(&ack, t2).is_some());
    assert_eq!(waits(&mut client, t2), Duration::from_mins(30));

    let end = t2 + Duration::from_hours(1);
    assert!(matches!(client.step(end), Step::Lost(_)));
    sent(&mut client, end, To::All);
}

#[test]
fn questions_wait_longer_and_longer_for_an_answer() {
    let mut now = Instant::now();
    let mut client = Client::new(MAC, XID, now);
    let mut seconds = Vec::new();
    for _ in 0..7 {
        sent(&mut client, now, To::All);
        let wait = waits(&mut client, now);
        seconds.push(wait.as_secs());
        now += wait;
    }
    assert_eq!(seconds, [1, 2, 4, 8, 16, 16, 16]);
}

#[test]
fn a_refusal_starts_over_and_an_unanswered_request_too() {
    let start = Instant::now();
    let (mut client, _) = bound(start);
    let t1 = start + Duration::from_mins(30);
    let renew = sent(&mut client, t1, To::Server(SERVER));
    let nak = reply(&renew, DhcpMessageType::Nak, |_| {});
    assert_eq!(client.receive(&nak, t1), None);
    assert!(matches!(client.step(t1), Step::Lost(_)));

    let mut now = start;
    let mut client = Client::new(MAC, XID, now);
    let discover = sent(&mut client, now, To::All);
    let offer = reply(&discover, DhcpMessageType::Offer, |_| {});
    client.receive(&offer, now);
    for _ in 0..REQUESTS {
        assert_eq!(sent(&mut client, now, To::All)[..].len(), discover.len());
        now += waits(&mut client, now);
    }
    let again = sent(&mut client, now, To::All);
    let packet = DhcpPacket::new_checked(&again[..]).unwrap();
    let repr = DhcpRepr::parse(&packet).unwrap();
    assert_eq!(repr.message_type, DhcpMessageType::Discover);
}

#[test]
fn answers_that_are_none_of_ours_or_make_no_sense_change_nothing() {
    let now = Instant::now();
    let changes: [fn(&mut DhcpRepr<'_>); 8] = [
        |repr| repr.transaction_id = 8,
        |repr| repr.client_hardware_address.0[5] = 9,
        |repr| repr.your_ip = Ipv4Addr::UNSPECIFIED,
        |repr| repr.your_ip = Ipv4Addr::LOCALHOST,
        |repr| repr.subnet_mask = Some(Ipv4Addr::new(255, 0, 255, 0)),
        |repr| repr.subnet_mask = Some(Ipv4Addr::UNSPECIFIED),
        |repr| repr.lease_duration = None,
        |repr| repr.server_identifier = None,
    ];
    for (index, change) in changes.into_iter().enumerate() {
        let mut client = Client::new(MAC, XID, now);
        let discover = sent(&mut client, now, To::All);
        client.receive(&reply(&discover, DhcpMessageType::Offer, change), now);
        assert!(matches!(client.state, State::Selecting), "{index}");
    }
    // Nobody renews a lease that nobody asked about.
    let (mut client, lease) = bound(now);
    let other = message(Question::Discover, MAC, XID, 0).unwrap();
    let ack = reply(&other, DhcpMessageType::Ack, |repr| {
        repr.lease_duration = Some(9);
    });
    assert_eq!(client.receive(&ack, now), None);
    // Nor with another address.
    sent(&mut client, now + lease.renew, To::Server(SERVER));
    let ack = reply(&other, DhcpMessageType::Ack, |repr| {
        repr.your_ip = Ipv4Addr::new(10, 0, 2, 16);
    });
    assert_eq!(client.receive(&ack, now + lease.renew), None);
}

proptest! {
    #[test]
    fn any_bytes_are_an_answer_or_nothing(
        bytes in proptest::collection::vec(any::<u8>(), 0..600),
        options in proptest::collection::vec(any::<u8>(), 0..300),
        cut in 0_usize..600,
    ) {
        let now = Instant::now();
        let mut client = Client::new(MAC, XID, now);
        let discover = sent(&mut client, now, To::All);
        // Nearly right: a real offer with other options, or its beginning only.
        let mut offer = reply(&discover, DhcpMessageType::Offer, |_| {});
        let end = cut.min(offer.len());
        let mut strange = offer[..240].to_vec();
        strange.extend(&options);
        offer.truncate(end);
        for bytes in [bytes, strange, offer] {
            let _ = client.receive(&bytes, now);
            match client.step(now) {
                Step::Wait(until) => prop_assert!(until > now),
                Step::Send(..) | Step::Lost(_) => {}
            }
        }
    }
}
