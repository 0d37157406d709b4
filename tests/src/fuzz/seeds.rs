//! What fuzzing begins with: inputs as they are in real life, and the ones that are wrong in a way worth trying.
//!
//! They are written to `fuzz/corpus`; the test in `tests/suite/fuzz.rs` says how. Signatures in them stay good, since
//! the keys are always the same.

use super::keys::{OTHER_POOL, OWN, POOL, key};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use potluck_host::net::frame;
use potluck_host::pool::membership::{Membership, key_text, pool_id};
use potluck_host::pool::revocations::Revocations;
use potluck_host::pool::token::JoinToken;
use potluck_sdk::PeerId;
use serde_json::json;

/// One file of a corpus.
pub struct Seed {
    /// The target that it is for.
    pub target: &'static str,
    /// Its name.
    pub name: String,
    /// Its content.
    pub bytes: Vec<u8>,
}

/// All of them.
pub fn seeds() -> Vec<Seed> {
    let mut seeds = Vec::new();
    let mut add = |target: &'static str, inputs: Vec<(&str, Vec<u8>)>| {
        seeds.extend(inputs.into_iter().map(|(name, bytes)| Seed { target, name: name.to_owned(), bytes }));
    };
    add("envelope", messages().into_iter().map(|(name, text)| (name, text.into_bytes())).collect());
    add("frame_decoder", frames());
    add("join_handshake", conversations().into_iter().map(|(name, text)| (name, text.into_bytes())).collect());
    add("membership", pool_texts());
    add("plugins_toml", files());
    seeds
}

fn messages() -> Vec<(&'static str, String)> {
    let fixed = [
        ("ping", r#"{"type":"PING"}"#),
        (
            "task",
            r#"{"type":"CPU_TASK","id":17,"program":"def main(x):\n    return x * x\n","function":"main","args":[5]}"#,
        ),
        ("text_id", r#"{"id":"a\"b","type":"GET_MEM","key":"k"}"#),
        ("to_peer", r#"{"type":"PING","to":"5f0c6b1e-0000-8000-8000-00000000000a","id":1}"#),
        ("to_address", r#" { "to" : "127.0.0.1:8000" , "type" : "PING" } "#),
        ("to_escaped", r#"{"to":"127\u002e0.0.1:8000","type":"PING"}"#),
        ("to_half_a_character", r#"{"to":"\ud800","type":"PING"}"#),
        ("attachment", r#"{"type":"STORE_FILE","name":"a.bin","attachment":1048576,"sha256":null}"#),
        ("attachment_large", r#"{"attachment":18446744073709551615}"#),
        ("attachment_wrong", r#"{"attachment":1e3,"type":"X"}"#),
        ("behalf", r#"{"type":"GET_MEM","behalf":"task","key":"k"}"#),
        ("behalf_null", r#"{"behalf":null,"id":null,"to":null,"type":"GET_MEM"}"#),
        ("behalf_wrong", r#"{"behalf":"local"}"#),
        ("escaped_names", r#"{"ty\u0070e":"X","t\u006f":"a:1","behal\u0066":"task","i\u0064":5,"type":"Y"}"#),
        ("twice", r#"{"type":"A","id":1,"type":"B"}"#),
        ("type_wrong", r#"{"type":5}"#),
        ("id_wrong", r#"{"id":[1]}"#),
        ("id_number", r#"{"id":-1.5e+10,"type":"A","value":{"id":7,"to":"x","attachment":[]}}"#),
        ("routing_alone", r#"{"id":1,"to":"a:1","attachment":3,"behalf":"task"}"#),
        ("empty", "{}"),
        ("spaces", "\t{\r\n \"a\" : [ 1 , { } , \"}\" ] ,\n\"id\" : 1 }\n"),
        ("nested", r#"{"args":[[{"a":[{"type":"no"}]},"}\"",true,false,null,-0.5E-7]],"type":"CPU_TASK"}"#),
        ("texts", "{\"key\":\"\u{e9}\u{20ac}\u{1d11e}\\u00e9\\\\\\/\\b\",\"type\":\"SET_MEM\",\"value\":\"\"}"),
        ("not_closed", r#"{"a":"#),
        ("behind_the_end", r#"{"a":1}x"#),
        ("loose", r#"{"a":[,:],"id":1,"b":tru,"c":[}}"#),
        ("array", "[1,2]"),
    ];
    let mut messages: Vec<_> = fixed.map(|(name, text)| (name, text.to_owned())).into();
    messages.push(("deep", format!(r#"{{"v":{}{},"id":1}}"#, "[".repeat(300), "]".repeat(300))));
    messages.push(("id_long", format!(r#"{{"id":"{}","type":"A"}}"#, "x".repeat(255))));
    messages
}

/// Kind of inbox, cuts and stream; see the target.
fn frames() -> Vec<(&'static str, Vec<u8>)> {
    let framed = |messages: &[(&str, &[u8])]| {
        let mut stream = Vec::new();
        for (json, attachment) in messages {
            frame::write(&mut stream, None, json.as_bytes(), attachment);
        }
        stream
    };
    let input = |kind: u8, cuts: &[u8], stream: Vec<u8>| [&[kind, cuts.len() as u8][..], cuts, &stream].concat();
    let task = r#"{"type":"CPU_TASK","id":17,"program":"def main(x): return x","args":[5]}"#;
    let large = format!(r#"{{"type":"SET_MEM","value":"{}"}}"#, "v".repeat(4200));
    let small = (task, &b""[..]);
    let file = (r#"{"type":"STORE_FILE","id":"f"}"#, &b"content"[..]);
    let hello = (r#"{"type":"HELLO","pool_id":"x"}"#, &b""[..]);
    vec![
        ("one", input(2, &[], framed(&[small]))),
        ("byte_by_byte", input(2, &[1], framed(&[small, file, ("{}", b"")]))),
        ("odd_cuts", input(0, &[3, 0, 17, 64, 5], framed(&[file, small, file, file]))),
        ("rests", input(6, &[40, 1], framed(&[small, file, small]))),
        ("first_words", input(1, &[9], framed(&[hello, small, file]))),
        ("first_words_accepted", input(3, &[200], framed(&[hello, file, (&large, b"")]))),
        ("first_words_too_long", input(1, &[], framed(&[small]))),
        ("large", input(2, &[255], framed(&[(&large, b"")]))),
        ("large_attachment", input(2, &[250, 7], framed(&[(r#"{"type":"X"}"#, &[b'a'; 5000])]))),
        ("over_the_budget", input(2, &[], framed(&[(&large, &[b'a'; 2500])]))),
        ("a_part", input(0, &[2], framed(&[file])[..30].to_vec())),
        ("a_frame_and_a_part", input(0, &[2], framed(&[small, file])[..100].to_vec())),
        ("length_alone", input(2, &[1], vec![0, 0, 2])),
        ("announced_large", input(0, &[1], vec![0, 0xff, 0xff, 0xff, b'{'])),
        ("announced_too_large", input(0, &[], vec![0xff, 0xff, 0xff, 0xff])),
        ("length_zero", input(2, &[], [framed(&[small]), vec![0; 4]].concat())),
        ("tls", input(2, &[], b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec())),
        ("http", input(2, &[], b"GET / HTTP/1.1\r\n\r\n".to_vec())),
        ("not_utf8", input(2, &[4], [framed(&[small]), vec![0, 0, 0, 2, 0xff, 0xfe]].concat())),
        ("attachment_too_large", input(2, &[], b"\0\0\0\x19{\"attachment\":1000000000}".to_vec())),
        ("attachment_twice", input(2, &[], b"\0\0\0\x1f{\"attachment\":1,\"attachment\":2}ab".to_vec())),
        ("attachment_of_no_message", input(2, &[], b"\0\0\0\x10[\"attachment\":1]\0\0\0\x02{}".to_vec())),
        ("nothing", input(0, &[], Vec::new())),
    ]
}

/// Whose key, what the node is, and the messages; see the target.
fn conversations() -> Vec<(&'static str, String)> {
    let hello =
        |membership: &str| format!(r#"{{"type":"HELLO","id":1,"pool_id":"$pool","membership":"{membership}"}}"#);
    let join = |token: &str, proof: &str| {
        format!(
            r#"{{"type":"JOIN","pool_id":"$pool","token_id":"{token}","proof":"{proof}","name":"laptop","addresses":["10.0.0.7:8000"]}}"#
        )
    };
    let renew = r#"{"type":"RENEW_MEMBERSHIP"}"#;
    let foreign = r#"{"type":"HELLO","pool_id":"$elsewhere","membership":"$foreign"}"#;
    let mut written_out = hello("$good").replace("$pool", &pool_id(&key(POOL).public()).to_string());
    let member = key(1).public();
    written_out =
        written_out.replace("$good", &Membership::issue(&key(POOL), &member, "somebody", 1_999_999_000, 1_000_000_000));
    vec![
        ("own", format!("00{}", hello("$own"))),
        ("own_without_pool", format!("06{}", hello(""))),
        ("member", format!("10{}", hello("$good"))),
        ("member_written_out", format!("10{written_out}")),
        ("member_of_a_member", format!("12{}", hello("$good"))),
        ("member_elsewhere", format!("14{}", hello("$good"))),
        ("somebody_elses_membership", format!("50{}", hello("$good"))),
        ("the_nodes_membership", format!("50{}", hello("$own"))),
        ("expired", format!("20{}", hello("$expired"))),
        ("expired_renews", format!("20{renew}\n{}", hello("$issued"))),
        ("member_renews", format!("10{renew}\n{renew}\n{}", hello("$issued"))),
        ("renews_and_says_no_more", format!("10{renew}\n{renew}\n{renew}\n{renew}")),
        ("revoked", format!("30{}", hello("$revoked"))),
        ("revoked_renews", format!("30{renew}")),
        ("revoked_joins", format!("30{}", join("$reusable", "$proof"))),
        ("stranger_renews", format!("40{renew}")),
        ("foreign", format!("40{foreign}")),
        ("foreign_as_ours", format!("40{}", hello("$foreign"))),
        ("joins", format!("50{}\n{}", join("$reusable", "$proof"), hello("$issued"))),
        ("joins_again", format!("50{0}\n{0}\n{1}", join("$reusable", "$proof"), hello("$issued"))),
        ("joins_and_says_no_more", format!("80{}", join("$reusable", "$proof"))),
        ("joins_on_another_connection", format!("51{}\n{}", join("$reusable", "$proof"), hello("$issued"))),
        ("joins_once", format!("60{}\n{}", join("$once", "$proofonce"), hello("$issued"))),
        ("joins_with_a_used_token", format!("70{}", join("$once", "$proofonce"))),
        ("joins_late", format!("70{}", join("$late", "$prooflate"))),
        ("joins_cancelled", format!("70{}", join("$cancelled", "$proofcancelled"))),
        ("replayed", format!("70{}", join("$reusable", "$proofbinding"))),
        ("somebody_elses_proof", format!("70{}", join("$reusable", "$proofkey"))),
        ("proof_for_another_pool", format!("70{}", join("$reusable", "$proofpool"))),
        ("proof_of_another_token", format!("70{}", join("$reusable", "$proofonce"))),
        ("token_unknown", format!("70{}", join("0000000000000000", "$proof"))),
        ("joins_another_pool", format!("70{}", join("$reusable", "$proof").replace("$pool", "$elsewhere"))),
        ("other_message", r#"10{"type":"CPU_TASK","program":"def main(): pass"}"#.to_owned()),
        ("no_message", "10hello".to_owned()),
        ("two_types", r#"70{"type":"RENEW_MEMBERSHIP","ty\u0070e":"HELLO"}"#.to_owned()),
    ]
}

/// Kind and content; see the target.
fn pool_texts() -> Vec<(&'static str, Vec<u8>)> {
    let (pool, own) = (key(POOL), key(OWN).public());
    let pool_id = pool_id(&pool.public());
    let input = |kind: char, text: &str| format!("{kind}{text}").into_bytes();
    let ids: Vec<PeerId> = (1..4).map(|number| key(number).public().peer_id()).collect();
    let membership = |name: &str| Membership::issue(&pool, &own, name, 1_900_000_000, 1_000_000_000);
    let payload = |version: u32| {
        json!({"v": version, "pool": pool_id, "peer": own.peer_id(), "key": key_text(&own), "name": "laptop",
            "issued": 1_900_000_000_u64, "expires": 2_900_000_000_u64})
        .to_string()
    };
    let list = |version: u32| json!({"v": version, "pool": pool_id, "version": 7, "revoked": ids}).to_string();
    let standing = |revoked: &[PeerId]| {
        json!({"version": 1, "pool_key": key_text(&pool.public()), "pool_name": "Ana's pool",
            "membership": membership("laptop"), "tracker_key": key_text(&key(1).public()),
            "tracker_addresses": ["192.168.1.10:8000", "[fd00::1]:8000"],
            "revocations": Revocations::issue(&pool, 3, revoked)})
        .to_string()
    };
    let token = |addresses: &[&str]| {
        let addresses = addresses.iter().map(|address| (*address).to_owned()).collect();
        let mut token = JoinToken::generate(pool_id, own.sha256(), 2_900_000_000, addresses).unwrap();
        // A token is otherwise never the same twice.
        (token.token_id, token.secret) = ([1; 8], [2; 32]);
        token.to_string()
    };
    let content = |addresses: &[&str]| {
        let mut bytes = URL_SAFE_NO_PAD.decode(&token(addresses)["potluck-".len()..]).unwrap();
        bytes.truncate(bytes.len() - 4);
        bytes
    };
    vec![
        ("membership", input('m', &membership("laptop"))),
        ("membership_of_another_pool", input('m', &Membership::issue(&key(OTHER_POOL), &own, "laptop", 1, 1))),
        ("membership_cut", input('m', &membership("laptop")[..100])),
        ("membership_named", input('m', &membership("M\u{fc}ller \u{1f4bb}"))),
        ("payload", input('M', &payload(1))),
        ("payload_of_a_later_version", input('M', &payload(2))),
        ("payload_with_more", input('M', &payload(1).replace("{", r#"{"new":[1],"#))),
        ("payload_that_turns_text_around", input('M', &payload(1).replace("laptop", "\u{202e}\u{200b}\\u0007"))),
        ("payload_that_ends_before_it_begins", input('M', &payload(1).replace("2900000000", "5"))),
        ("payload_of_another_pool", input('M', &payload(1).replace(&pool_id.to_string(), &own.peer_id().to_string()))),
        ("payload_of_another_peer", input('M', &payload(1).replace(&own.peer_id().to_string(), &ids[0].to_string()))),
        ("revocations", input('r', &Revocations::issue(&pool, 3, &ids))),
        ("revocations_of_nobody", input('r', &Revocations::issue(&pool, 0, &[]))),
        ("list", input('R', &list(1))),
        ("list_of_a_later_version", input('R', &list(2))),
        ("list_with_one_twice", input('R', &list(1).replace(&ids[1].to_string(), &ids[0].to_string()))),
        ("token", input('t', &token(&["192.168.1.10:8000", "[fd00::1]:8000", "pool.example.org:65535"]))),
        ("token_without_addresses", input('t', &token(&[]))),
        ("token_in_spaces", input('t', &format!(" {}\n", token(&["a:1"])))),
        ("token_cut", input('t', &token(&["a:1"])[..60])),
        ("content", [b"C", &content(&["192.168.1.10:8000", "a:1"])[..]].concat()),
        ("content_of_a_later_version", [b"C\x02", &content(&[])[1..]].concat()),
        ("content_with_more", [b"C", &content(&["a:1"])[..], b"x"].concat()),
        ("addresses", input('T', "10.0.0.1:8000\n[::1]:8000\nmy_host-2.local:65535")),
        ("addresses_wrong", input('T', "10.0.0.1:0\n[x]:1\na:+1")),
        ("addresses_too_many", input('T', &["a:1"; 9].join("\n"))),
        ("standing", input('s', &standing(&ids))),
        ("standing_of_one_revoked", input('s', &standing(&[own.peer_id()]))),
        ("standing_of_a_later_version", input('s', &standing(&[]).replace(r#""version":1"#, r#""version":2"#))),
        ("standing_that_is_not_utf8", [b"s", &standing(&[]).into_bytes()[..200], b"\xff\xfe"].concat()),
    ]
}

/// A file with most of what there is.
const WHOLE_NODE: &str = r#"# A node of its own.
[node]
host = "0.0.0.0"                      # Address to listen on.
advertise = "192.168.1.7"
plaintext = "loopback"
local_users = "own"
discovery = true
membership_seconds = 86400
tracker = "tracker.example.org:8888"
heartbeat_seconds = 10.0
idle_seconds = 30.0
connections_max = 10_000
unknown_connections_max = 256
frame_bytes_total_max = 268435456

[access]
rate_per_second = 50.5
rate_burst = 100
messages = { SET_SCHEDULER = "nobody", GET_MEM = "member" }

[access.peers."5f0c6b1e-0000-8000-8000-00000000000a"]
allow = ["SET_SCHEDULER"]
deny = ["CPU_TASK", "BATCH_TASK"]
rate_per_second = 0

[plugins.memory]
entries_max = 1000000
bytes_max = 1073741824

[plugins.cpu]
python = "/home/you/venv/bin/python"
workers = 0
algorithm = "PRIORITY"
timeout_seconds = 60.0
forward = true
sandbox_packages = ["/opt/wheels/a.whl", "/opt/b"]

[plugins.echo]
path = "libecho.so"
"#;

fn files() -> Vec<(&'static str, Vec<u8>)> {
    let fixed = [
        ("nothing", ""),
        ("a_node", "[node]\nhost = \"127.0.0.1\"\ntracker = \"127.0.0.1:8888\"\nheartbeat_seconds = 10\n"),
        ("a_tracker", "[plugins.tracker]\npeers_max = 5\n"),
        ("two_plugins", "[plugins.memory]\nentries_max = 5\n\n[plugins.echo]\npath = \"libecho.so\"\nname = 'x'\n"),
        ("a_path_from_the_root", "[plugins.echo]\npath = \"/opt/libecho.so\"\n"),
        ("in_one_line", "plugins.cpu = { workers = 2, path = \"../cpu.so\" }\n"),
        ("a_whole_node", WHOLE_NODE),
        ("access", "[access]\nrate_per_second = 5\n[access.messages]\nGET_MEM = \"member\"\n"),
        (
            "access_of_a_peer",
            "[access.peers.\"5f0c6b1e-0000-8000-8000-00000000000a\"]\nallow = [\"SET_SCHEDULER\"]\ndeny = [\"*\"]\n",
        ),
        (
            "values",
            "[plugins.x]\na = 0x1f\nb = 1_000\nc = inf\nd = nan\ne = 1979-05-27T07:32:00Z\nf = [[1], [\"a\"]]\n",
        ),
        ("texts", "[plugins.x]\na = \"\"\"\n\\u00e9 \\\n  b\"\"\"\nb = '''c'd'''\n\"k e y\" = true\n"),
        ("tables_in_a_row", "[[plugins.x.list]]\na = 1\n[[plugins.x.list]]\na.b.c = 2\n"),
        ("misspelt_key", "[node]\nidle_secs = 3\n"),
        ("misspelt_table", "[plugin.memory]\n"),
        ("wrong_type", "[node]\nidle_seconds = \"3\"\n"),
        ("out_of_bounds", "[node]\nidle_seconds = -1\n"),
        ("no_number", "[node]\nheartbeat_seconds = nan\n"),
        ("no_table", "[plugins]\nmemory = 3\n"),
        ("wrong_id", "[plugins.Memory]\n"),
        ("empty_id", "[plugins.\"\"]\n"),
        ("id_with_a_path", "[plugins.\"../x\"]\n"),
        ("not_closed", "[plugins.memory\n"),
        ("twice", "[node]\n[node]\n"),
    ];
    let mut files: Vec<_> = fixed.map(|(name, text)| (name, text.as_bytes().to_vec())).into();
    files.push(("deep", format!("[plugins.x]\na = {}{}\n", "[".repeat(100), "]".repeat(100)).into_bytes()));
    files
}
