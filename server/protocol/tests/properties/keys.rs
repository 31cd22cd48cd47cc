//! Keys and bundles: who may register what.

use zeroize::Zeroizing;
use zipnet_protocol::{
    BundleError, Canonical, ClientBundle, ClientRegistry, CommitteeSecret, DhPublic, HeaderError,
    KeyError, RosterEntry, RoundContext, RoundPads, RoundParams, ServerBundle, SigningSecret,
    Whereabouts, Withdrawal, domain_digest,
};

use crate::common::{NAME, SECRET, World, dh, entropy, signing};

/// Every encoding of a point of small order: the u-coordinates of
/// <https://cr.yp.to/ecdh.html>, those not reduced, and all with the top bit,
/// which X25519 ignores.
fn small_order() -> Vec<DhPublic> {
    let p = |low: u8| {
        let mut bytes = [0xff; 32];
        bytes[0] = low;
        bytes[31] = 0x7f;
        bytes
    };
    let mut one = [0; 32];
    one[0] = 1;
    let order_8 = |text: &str| hex::decode(text).unwrap().try_into().unwrap();
    let points = [
        [0; 32],
        one,
        order_8("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
        order_8("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
        p(0xec),
        p(0xed),
        p(0xee),
    ];
    let with_top = points.map(|mut point: [u8; 32]| {
        point[31] |= 0x80;
        point
    });
    points
        .into_iter()
        .chain(with_top)
        .map(DhPublic::new)
        .collect()
}

/// A server bundle with any X25519 key, rightly signed by all three keys.
fn server_bundle(world: &World, index: usize, dh: &DhPublic) -> ServerBundle {
    let transport = signing("server transport", index);
    let signing = signing("server signing", index);
    let peer = transport.peer_key();
    let id = world.instance.server_id(&peer);
    let body = || {
        Canonical::new()
            .fixed(world.instance.id().as_bytes())
            .fixed(id.as_bytes())
            .fixed(dh.as_bytes())
            .fixed(signing.public().as_bytes())
            .fixed(peer.as_bytes())
            .u64(7)
            // Nowhere.
            .fixed(&[0; 32])
            .u32(0)
    };
    let wire = (
        id,
        dh,
        signing.public(),
        peer,
        7_u64,
        Whereabouts::nowhere(),
        transport.sign("zipnet/server-bundle/transport/v2", &body()),
        signing.sign("zipnet/server-bundle/possession/v2", &body()),
        world
            .committee
            .sign("zipnet/server-bundle/admission/v2", &body()),
    );
    postcard::from_bytes(&postcard::to_stdvec(&wire).unwrap()).unwrap()
}

#[test]
fn i1_points_of_small_order_are_refused_at_every_entrance() {
    let world = World::new(1, 1);
    let refused = BundleError::Dh(KeyError::NonContributory);
    let good = server_bundle(&world, 0, &dh("any", 0).public());
    assert!(
        good.verify(&world.instance).is_ok(),
        "the bundle is well made"
    );

    for point in small_order() {
        assert_eq!(point.check_contributory(), Err(KeyError::NonContributory));
        let agreed = dh("any", 0).agree(&point);
        assert_eq!(agreed.unwrap_err(), KeyError::NonContributory);

        let client = world.client_bundle(&point, &signing("client transport", 0));
        assert_eq!(client.verify(&world.instance), Err(refused));
        let registry = ClientRegistry::verify(&world.instance, std::slice::from_ref(&client));
        assert_eq!(registry, Err(refused));

        let server = server_bundle(&world, 0, &point);
        assert_eq!(server.verify(&world.instance), Err(refused));

        // So no sealer ever meets one: there is no round to seal for.
        let opener = &world.servers[0];
        let mut header = world.header(RoundParams::default(), 1);
        header.roster = vec![RosterEntry {
            server: *server.server_id(),
            bundle: domain_digest("zipnet/server-bundle/v1", b""),
        }];
        let round = header
            .sign(*opener.admitted.id(), &opener.signing)
            .verify(&world.instance, &[server]);
        assert!(
            matches!(round, Err(HeaderError::Bundle { source, .. }) if source == refused),
            "{round:?}"
        );
    }
}

#[test]
fn i12_nobody_registers_under_the_id_of_another_client() {
    let world = World::new(1, 1);
    let victim = world.registered(0);
    // The victim's key is public; the thief signs for it with its own.
    let thief = world.client_bundle(victim.dh(), &signing("thief", 0));
    let thief = thief.verify(&world.instance).unwrap();
    assert_ne!(thief.id(), victim.id());

    let mut registry = world.registry.clone();
    assert!(registry.insert(thief.clone()));
    assert_eq!(registry.get(victim.id()), Some(&victim));
    let registry = ClientRegistry::from_clients(vec![victim.clone(), thief]);
    assert_eq!(registry.get(victim.id()), Some(&victim));
}

#[test]
fn i12_only_a_client_itself_withdraws() {
    let world = World::new(1, 2);
    let (victim, other) = (world.registered(0), world.registered(1));
    let signed = |by: &str| {
        Withdrawal::sign(&world.instance, *victim.id(), &signing(by, 0))
            .verify(&world.instance, &victim)
    };
    assert_eq!(signed("client transport"), Ok(()));
    assert_eq!(
        signed("thief"),
        Err(BundleError::Transport(KeyError::Signature))
    );
    assert_eq!(
        Withdrawal::sign(
            &world.instance,
            *victim.id(),
            &signing("client transport", 0)
        )
        .verify(&world.instance, &other),
        Err(BundleError::Id)
    );
}

#[test]
fn i12_a_server_needs_all_three_keys() {
    let world = World::new(1, 0);
    let sign = |committee: &SigningSecret| {
        ServerBundle::sign(
            &world.instance,
            &dh("server dh", 0),
            &signing("server signing", 0),
            &signing("server transport", 0),
            committee,
            1,
            Whereabouts::nowhere(),
        )
    };
    assert!(sign(&world.committee).verify(&world.instance).is_ok());
    let error = BundleError::Admission(KeyError::Signature);
    let stranger = signing("a stranger's committee", 0);
    assert_eq!(sign(&stranger).verify(&world.instance), Err(error));

    // Signatures of the same keys in each other's place.
    let wire = postcard::to_stdvec(&sign(&world.committee)).unwrap();
    let (keys, signatures) = wire.split_at(wire.len() - 192);
    let [a, b, c] = [&signatures[..64], &signatures[64..128], &signatures[128..]];
    let swapped = |[a, b, c]: [&[u8]; 3]| {
        let wire = [keys, a, b, c].concat();
        postcard::from_bytes::<ServerBundle>(&wire)
            .unwrap()
            .verify(&world.instance)
    };
    assert!(swapped([a, b, c]).is_ok());
    assert_eq!(
        swapped([b, a, c]),
        Err(BundleError::Transport(KeyError::Signature))
    );
    assert_eq!(
        swapped([a, c, b]),
        Err(BundleError::Possession(KeyError::Signature))
    );
}

#[test]
fn a_bundle_is_for_one_instance() {
    let world = World::new(1, 1);
    let name: zipnet_protocol::InstanceName = "acme.other.test".parse().unwrap();
    let secret = CommitteeSecret::new(Zeroizing::new(SECRET.to_vec()));
    let key = secret.committee_key(&name).public();
    let other = zipnet_protocol::Instance::new(name, key);
    let client: ClientBundle = world.clients[0].sealer.bundle().clone();
    assert_eq!(client.verify(&other), Err(BundleError::Id));
    assert_eq!(world.bundles()[0].verify(&other), Err(BundleError::Id));
}

#[test]
fn i10_debug_output_holds_no_secret() {
    let world = World::new(1, 1);
    let shared = dh("server dh", 0)
        .agree(&dh("client dh", 0).public())
        .unwrap();
    let secret = CommitteeSecret::new(Zeroizing::new(SECRET.to_vec()));
    let table = zipnet_protocol::PadTable::agree(&world.servers[0].dh, &world.registry, None);
    let text = format!(
        "{:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?}",
        world.servers[0].dh,
        world.servers[0].signing,
        world.clients[0].sealer,
        zipnet_protocol::SlotKey::from_entropy(entropy("client slot key", 0)),
        secret,
        shared,
        table.unwrap(),
        RoundPads::new(&RoundContext::new([7; 32])),
    );
    let id = world.clients[0].sealer.id();
    assert_eq!(
        text,
        format!(
            "DhSecret(..) SigningSecret(..) Sealer({id}) SlotKey(..) CommitteeSecret(..) \
             PadSecret(..) PadTable(1 clients) RoundPads(..)"
        )
    );
    assert_eq!(NAME.parse(), Ok(world.instance.name().clone()));
}
