"""A name server for tests, at 127.0.0.53: it knows one name, and one address of it. nameserver.py NAME ADDRESS"""

import socket
import struct
import sys

name, address = sys.argv[1:]
QUESTION = b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"

server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.53", 53))
print("ready", flush=True)
while True:
    query, sender = server.recvfrom(512)
    end = query.index(b"\0", 12) + 1
    asked, kind = query[12:end], struct.unpack(">H", query[end : end + 2])[0]
    known = asked.lower() == QUESTION
    answers = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4" + socket.inet_aton(address) if known and kind == 1 else b""
    head = query[:2] + (b"\x81\x80" if known else b"\x81\x83") + b"\0\1" + struct.pack(">H", bool(answers)) + b"\0" * 4
    server.sendto(head + query[12 : end + 4] + answers, sender)
