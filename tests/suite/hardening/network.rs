//! The network: there is none, the node's own port included.

use super::denied;
use potluck_tests::TestNode;
use serde_json::json;
use std::os::unix::net::UnixListener;

#[test]
fn sockets_of_every_family_are_refused() {
    let node = TestNode::peer().start();
    // Families by their numbers, so that Python need not know them: local, the Internet's two, netlink, packet, Bluetooth,
    // cryptography, virtual machines, XDP, and those without a name.
    let every = "
import errno, socket
refused = {}
for family in list(range(0, 46)) + [255]:
    for kind in (1, 2, 3, 5, 1 | socket.SOCK_CLOEXEC, 2 | socket.SOCK_NONBLOCK):
        try:
            socket.socket(family, kind)
        except OSError as error:
            refused[errno.errorcode[error.errno]] = refused.get(errno.errorcode[error.errno], 0) + 1
        else:
            raise SystemExit(f'family {family}, kind {kind} is open')
got = refused
";
    let outcomes = potluck_tests::outcomes(&node, json!({}), &[every]);
    // By the filter, before the kernel has looked whether there is such a family.
    assert_eq!(outcomes[0]["got"], "{'EPERM': 282}", "{outcomes:?}");
    node.check_serving();
}

#[test]
fn nobody_can_be_reached() {
    let node = TestNode::peer().start();
    let listener = UnixListener::bind(node.folder().join("socket")).unwrap();
    listener.set_nonblocking(true).unwrap();
    denied(
        &node,
        &[
            "import socket; got = socket.create_connection(('127.0.0.1', PORT), 5)",
            "import socket; got = socket.socket().connect(('127.0.0.1', PORT))",
            "import socket; got = socket.create_server(('127.0.0.1', 0))",
            "import socket; s = socket.socket(socket.AF_UNIX); got = s.connect('FOLDER/socket')",
            "import socket; s = socket.socket(socket.AF_UNIX); got = s.bind('here')",
            "import socket; s = socket.socket(socket.AF_UNIX); got = s.bind('\\0abstract')",
            "import socket; got = socket.getaddrinfo('example.com', 80)",
            "import urllib.request; got = urllib.request.urlopen('http://127.0.0.1:PORT/', timeout=5)",
            "import asyncio; got = asyncio.run(asyncio.open_connection('127.0.0.1', PORT))",
            "import socket; got = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)",
            "import socket; got = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)",
            "import socket; a, b = socket.socketpair(); got = a.connect('FOLDER/socket')",
            "import socket; a, b = socket.socketpair(); got = a.sendto(b'x', 'FOLDER/socket')",
            "import socket; a, b = socket.socketpair(); got = a.sendmsg([b'x'], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, b'\\0' * 4)])",
            "import socket; a, b = socket.socketpair(); got = socket.send_fds(a, [b'x'], [0])",
            "import socket; a, b = socket.socketpair(); got = a.listen()",
            "import socket; a, b = socket.socketpair(); got = a.accept()",
        ],
    );
    assert!(listener.accept().is_err(), "somebody has connected");
}

#[test]
fn event_loops_work() {
    let node = TestNode::peer().start();
    let program = "
import asyncio, queue, selectors, socket, threading
async def add(x, y):
    await asyncio.sleep(0.01)
    return x + y
async def both():
    return await asyncio.gather(add(1, 2), asyncio.to_thread(lambda: threading.current_thread().name[:7]))
def main():
    with selectors.DefaultSelector() as selector:
        one, other = socket.socketpair()
        selector.register(one, selectors.EVENT_READ)
        other.send(b'x')
        ready = len(selector.select(10))
    results = queue.Queue()
    thread = threading.Thread(target=lambda: results.put('thread'))
    thread.start()
    thread.join()
    return [asyncio.run(both()), ready, results.get()]
";
    assert_eq!(node.run(program, json!([])), json!([[3, "asyncio"], 1, "thread"]));
}
