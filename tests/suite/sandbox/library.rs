//! The standard library of the sandbox.

use super::run;
use potluck_tests::{TestNode, workspace_root};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// The modules that the design names: what programs that compute commonly need.
const NAMED: &str = "
abc array ast asyncio base64 binascii bisect calendar cmath codecs collections colorsys concurrent contextlib copy csv
dataclasses datetime decimal difflib email enum fnmatch fractions functools gc glob graphlib gzip hashlib heapq hmac html
http importlib inspect io ipaddress itertools json keyword linecache locale logging marshal math mimetypes numbers operator
pathlib pickle platform plistlib pprint queue quopri random re reprlib sched secrets shelve shlex sqlite3 statistics string
stringprep struct symtable tarfile tempfile textwrap threading time timeit token tokenize tomllib traceback types typing
unicodedata unittest urllib uuid warnings wave weakref xml zipfile zlib zoneinfo
";
/// As many as were imported when the sandbox was designed.
const MODULES_MIN: usize = 101;

fn listed() -> Vec<String> {
    let text = std::fs::read_to_string(workspace_root().join("tests/suite/sandbox_modules.txt")).unwrap();
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned).collect()
}

#[test]
fn the_modules_of_the_list_can_be_imported() {
    let modules = listed();
    assert!(modules.iter().collect::<BTreeSet<_>>().len() >= MODULES_MIN, "only {} modules", modules.len());
    let missing: Vec<&str> =
        NAMED.split_ascii_whitespace().filter(|name| !modules.iter().any(|module| module == name)).collect();
    assert!(missing.is_empty(), "not in tests/suite/sandbox_modules.txt: {missing:?}");
    let node = TestNode::peer().start();
    let program = "
import importlib
def main(names):
    failed = {}
    for name in names:
        try:
            importlib.import_module(name)
        except BaseException as error:
            failed[name] = f'{type(error).__name__}: {error}'
    return failed
";
    assert_eq!(run(&node, program, json!([modules])), json!({}));
    // Each in a task of its own as well: none needs another to have been imported before.
    for module in modules {
        assert_eq!(run(&node, &format!("import {module}\ndef main(): return 1"), json!([])), 1, "{module}");
    }
}

#[test]
fn what_is_missing_says_so() {
    let node = TestNode::peer().start();
    for module in ["ssl", "ctypes", "bz2", "lzma", "mmap", "numpy"] {
        let reply = node.call(potluck_tests::sandboxed(&format!("import {module}\ndef main(): pass"), json!([])));
        super::assert_failed(&reply, "task_failed", module);
        assert!(["ModuleNotFoundError", "ImportError"].contains(&reply["error_type"].as_str().unwrap()), "{reply:#}");
    }
}

#[test]
fn modules_do_what_they_are_for() {
    let node = TestNode::peer().start();
    for (expression, expected) in [
        ("json.loads(json.dumps({'a': [1.5, None, 'é']}))", json!({ "a": [1.5, null, "é"] })),
        ("hashlib.sha256(b'abc').hexdigest()[:8]", json!("ba7816bf")),
        ("hashlib.md5(b'abc').hexdigest()[:8]", json!("90015098")),
        ("hashlib.blake2b(b'abc').hexdigest()[:8]", json!("ba80a53f")),
        ("hmac.new(b'k', b'm', 'sha256').hexdigest()[:8]", json!("b60090e3")),
        ("re.sub(r'(\\d+)', lambda m: str(int(m[1]) * 2), 'a1b22')", json!("a2b44")),
        ("str(decimal.Decimal(1) / 3)", json!("0.3333333333333333333333333333")),
        ("str(fractions.Fraction(1, 3) + 1)", json!("4/3")),
        ("statistics.median([3, 1, 2])", json!(2)),
        ("math.comb(50, 25)", json!(126_410_606_437_752_u64)),
        ("zlib.decompress(zlib.compress(b'x' * 100)).decode()[:3]", json!("xxx")),
        ("gzip.decompress(gzip.compress(b'abc')).decode()", json!("abc")),
        ("pickle.loads(pickle.dumps({1: 'a'}))[1]", json!("a")),
        ("datetime.date(2024, 2, 29).isoformat()", json!("2024-02-29")),
        ("sqlite3.connect(':memory:').execute('select 1 + 1').fetchone()[0]", json!(2)),
        ("asyncio.run(asyncio.sleep(0.01, 'slept'))", json!("slept")),
        ("asyncio.run(asyncio.wait_for(asyncio.sleep(0.01, 1), 5))", json!(1)),
        ("xml.etree.ElementTree.fromstring('<a><b/></a>')[0].tag", json!("b")),
        ("list(csv.reader(['a,b']))", json!([["a", "b"]])),
        ("struct.unpack('>I', b'\\0\\0\\1\\0')[0]", json!(256)),
        ("unicodedata.name('é')", json!("LATIN SMALL LETTER E WITH ACUTE")),
        ("list(graphlib.TopologicalSorter({2: [1]}).static_order())", json!([1, 2])),
        ("tomllib.loads('a = 1')", json!({ "a": 1 })),
        ("str(ipaddress.ip_network('10.0.0.0/30').num_addresses)", json!("4")),
        ("io.StringIO('text').read()", json!("text")),
        ("textwrap.shorten('one two three', 9)", json!("one [...]")),
        ("email.message_from_string('A: b\\n\\nc')['A']", json!("b")),
    ] {
        let modules = "asyncio, csv, datetime, decimal, email, fractions, graphlib, gzip, hashlib, hmac, io, ipaddress, json, \
                       math, pickle, re, sqlite3, statistics, struct, textwrap, tomllib, unicodedata, xml.etree.ElementTree, zlib";
        let program = format!("import {modules}\ndef main(): return {expression}");
        assert_eq!(run(&node, &program, json!([])), expected, "{expression}");
    }
    let zone = "import zoneinfo\ndef main(): return str(zoneinfo.ZoneInfo('UTC'))";
    let reply = node.call(potluck_tests::sandboxed(zone, json!([])));
    assert!(reply["result"] == "UTC" || reply["error_type"] == "ZoneInfoNotFoundError", "{reply:#}");
}

#[test]
fn programs_may_use_what_python_has() {
    let node = TestNode::peer().start();
    let program = "
import dataclasses, enum, functools, sys, typing
@dataclasses.dataclass(order=True)
class Point:
    x: int
    y: 'typing.Optional[int]' = None
class Colour(enum.Enum):
    RED = 1
@functools.cache
def fibonacci(n): return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)
def numbers():
    yield from range(3)
async def wait():
    return 'waited'
def main(*args):
    import asyncio, pickle
    match args:
        case [int(n), {'key': value}]:
            pass
    copy = pickle.loads(pickle.dumps(Point(1, 2)))
    return [
        __name__, sys.modules['__main__'].main is main, n, value, dataclasses.asdict(copy), Colour.RED.name, fibonacci(80),
        list(numbers()), asyncio.run(wait()), (lambda *, a=1: a)(), f'{1.5:>6}|', {**{'a': 1}}, [*'ab'], max([1, 2], key=abs),
    ]
";
    let expected: Value = json!([
        "__main__", true, 5, "v", { "x": 1, "y": 2 }, "RED", 23_416_728_348_467_685_u64, [0, 1, 2], "waited", 1, "   1.5|",
        { "a": 1 }, ["a", "b"], 2,
    ]);
    assert_eq!(run(&node, program, json!([5, { "key": "v" }])), expected);
}
