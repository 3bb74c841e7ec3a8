# Reads a stream of messages from standard input with a MessagePack library that knows nothing of this protocol;
# one JSON array a line, a bin as {"bin": "hexadecimal"}.
import json
import sys

import msgpack


class Stream:
    """Gives a few bytes a read, so that messages are cut anywhere."""

    def read(self, _):
        return sys.stdin.buffer.read(1000)


def show(value):
    return {"bin": value.hex()}


for message in msgpack.Unpacker(Stream(), raw=False, strict_map_key=True):
    print(json.dumps(message, separators=(",", ":"), default=show))
