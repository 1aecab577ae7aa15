"""Every packet on the interfaces of this network namespace, and every knock at sockets through which a host would
resolve names: one JSON object a line. Linux, root.

    python3 capture.py [--door PATH]... INTERFACE...

For each line of its input it says what it has seen by then, and last {"dropped": packets that the kernel could not
keep since the line before}. The first such object means that it has begun. It ends with its input.
"""

import ipaddress
import json
import os
import selectors
import socket
import struct
import sys

# linux/if_ether.h, linux/if_packet.h, linux/socket.h
ETH_P_ALL = 3
SOL_PACKET = 263
PACKET_ADD_MEMBERSHIP = 1
PACKET_STATISTICS = 6
PACKET_MR_PROMISC = 1
LARGEST = 65536
KERNEL_BUFFER = 4 * 1024 * 1024


def say(fields):
    sys.stdout.write(json.dumps(fields) + "\n")
    sys.stdout.flush()


def open_interface(name):
    # Bound before it gets anything: with a protocol from the start it would hear other interfaces until then.
    packets = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    packets.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, KERNEL_BUFFER)
    packets.bind((name, ETH_P_ALL))
    everything = struct.pack("iHH8s", socket.if_nametoindex(name), PACKET_MR_PROMISC, 0, b"")
    packets.setsockopt(SOL_PACKET, PACKET_ADD_MEMBERSHIP, everything)
    return packets


def open_door(path):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    door.bind(path)
    os.chmod(path, 0o666)
    door.listen(64)
    return door


def queried(payload):
    """The name that a DNS query asks for (RFC 1035, 4.1)."""
    labels, at = [], 12
    while at < len(payload) and payload[at]:
        labels.append(payload[at + 1 : at + 1 + payload[at]].decode("latin-1"))
        at += 1 + payload[at]
    return ".".join(labels)


def described(frame):
    """`protocol`, `from`, `to` and, of a DNS query, `asks`; of what is no IP its EtherType alone."""
    (ether_type,) = struct.unpack_from("!H", frame, 12)
    packet = frame[14:]
    if ether_type == 0x0800:
        protocol, header, addresses = packet[9], (packet[0] & 15) * 4, (packet[12:16], packet[16:20])
    elif ether_type == 0x86DD:
        protocol, header, addresses = packet[6], 40, (packet[8:24], packet[24:40])
    else:
        return {"protocol": f"EtherType {ether_type:#06x}"}
    source, target = (str(ipaddress.ip_address(address)) for address in addresses)
    if protocol not in (socket.IPPROTO_TCP, socket.IPPROTO_UDP):
        return {"protocol": f"IP protocol {protocol}", "from": source, "to": target}
    from_port, to_port = struct.unpack_from("!HH", packet, header)
    found = {
        "protocol": "TCP" if protocol == socket.IPPROTO_TCP else "UDP",
        "from": f"{source} {from_port}",
        "to": f"{target} {to_port}",
    }
    if protocol == socket.IPPROTO_UDP and to_port == 53:
        found["asks"] = queried(packet[header + 8 :])
    return found


def take(source, where):
    """Says everything that waits at a source."""
    while True:
        try:
            if source.family == socket.AF_PACKET:
                say({"at": where, **described(source.recv(LARGEST))})
            else:
                source.accept()[0].close()
                say({"at": where, "protocol": "unix socket"})
        except BlockingIOError:
            return


def main(words):
    doors, interfaces = [], []
    while words:
        word = words.pop(0)
        doors.append(words.pop(0)) if word == "--door" else interfaces.append(word)
    sources = {open_interface(name): name for name in interfaces} | {open_door(path): path for path in doors}
    selector = selectors.DefaultSelector()
    selector.register(sys.stdin.buffer.raw, selectors.EVENT_READ)
    for source in sources:
        source.setblocking(False)
        selector.register(source, selectors.EVENT_READ)
    say({"dropped": 0})
    while True:
        ready = [key.fileobj for key, _ in selector.select()]
        is_asked = sys.stdin.buffer.raw in ready
        if is_asked and not sys.stdin.buffer.raw.read(LARGEST):
            return
        for source, where in sources.items():
            if is_asked or source in ready:
                take(source, where)
        if is_asked:
            say({"dropped": sum(lost(source) for source in sources if source.family == socket.AF_PACKET)})


def lost(tap):
    """Packets since the last call: struct tpacket_stats is packets, drops, and looking at it sets it to zero."""
    return struct.unpack("II", tap.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))[1]


main(sys.argv[1:])
