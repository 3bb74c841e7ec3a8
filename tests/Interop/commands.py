# Every command of libnbd against an export, and every error. Arguments: URI, block size, image.
import sys
import nbd

uri, block, image = sys.argv[1], int(sys.argv[2]), sys.argv[3]
MIB = 1 << 20
h = nbd.NBD()
h.add_meta_context(nbd.CONTEXT_BASE_ALLOCATION)
h.set_strict_mode(0)  # What is wrong is to be refused by the server, not by the library.
h.connect_uri(uri)
size = h.get_size()


def refused(name, call, *arguments, **named):
    try:
        call(*arguments, **named)
    except nbd.Error as error:
        assert error.errno == name, (name, error.errno, error.string)
    else:
        raise AssertionError("not refused with " + name)


def stored(offset, length):
    with open(image, "rb") as file:
        file.seek(offset)
        return file.read(length)


assert h.get_structured_replies_negotiated()
assert h.can_meta_context(nbd.CONTEXT_BASE_ALLOCATION)
assert h.get_block_size(nbd.SIZE_MINIMUM) == block
longest = h.get_block_size(nbd.SIZE_MAXIMUM)

# What is written is read, of every length, and lies in the image.
for length in (block, 4096, 65536, MIB, MIB + block, 3 * MIB, longest):
    data = bytes((i * 7 + length) & 255 for i in range(4096)) * (length // 4096 + 1)
    data = data[:length]
    h.pwrite(data, 4096)
    assert h.pread(length, 4096) == data
    assert h.pread(length, 4096, nbd.CMD_FLAG_DF) == data
h.pwrite(b"\7" * MIB, 0, nbd.CMD_FLAG_FUA)
h.flush()
assert stored(0, MIB) == b"\7" * MIB

# Zeros of all kinds read as zeros, and what is around them stays.
for flags in (0, nbd.CMD_FLAG_NO_HOLE, nbd.CMD_FLAG_FUA, nbd.CMD_FLAG_FAST_ZERO):
    h.pwrite(b"\7" * MIB, 0)
    h.zero(64 * 1024, 128 * 1024, flags)
    assert h.pread(MIB, 0) == b"\7" * (128 * 1024) + bytes(64 * 1024) + b"\7" * (MIB - 192 * 1024)
h.zero(size, 0)
assert h.pread(longest, 0) == bytes(longest)
h.pwrite(b"\7" * MIB, MIB)
h.trim(MIB // 2, MIB, nbd.CMD_FLAG_FUA)
assert h.pread(MIB // 2, MIB + MIB // 2) == b"\7" * (MIB // 2)
h.cache(MIB, 0)

# Holes.
extents = []


def collect(context, offset, entries, error):
    assert context == nbd.CONTEXT_BASE_ALLOCATION and error.value == 0
    extents.append((offset, entries))


h.zero(size, 0)
h.pwrite(b"\1" * MIB, 8 * MIB)
h.flush()
h.block_status(size, 0, collect)
assert extents[0] == (0, [8 * MIB, 3, MIB, 0, size - 9 * MIB, 3]), extents
extents.clear()
h.block_status(2 * MIB, 8 * MIB, collect, nbd.CMD_FLAG_REQ_ONE)
assert extents == [(8 * MIB, [MIB, 0])], extents

# Errors; after each the connection goes on.
refused("EINVAL", h.pread, block, size)
refused("EINVAL", h.pread, 2 * block, size - block)
refused("EINVAL", h.pread, block // 2, 0)
refused("EINVAL", h.pread, block, block // 2)
refused("EINVAL", h.pread, 0, 0)
refused("EOVERFLOW", h.pread, longest + block, 0)
refused("ENOSPC", h.pwrite, bytes(block), size)
refused("EINVAL", h.pwrite, bytes(block // 2), 0)
refused("EINVAL", h.pwrite, bytes(block), block // 2)
refused("ENOSPC", h.zero, block, size)
refused("EINVAL", h.zero, 0, 0)
refused("EINVAL", h.trim, block, size)
refused("EINVAL", h.cache, block, size)
refused("EINVAL", h.block_status, block, size, collect)
refused("EINVAL", h.pread, block, 0, nbd.CMD_FLAG_NO_HOLE)
refused("EINVAL", h.pwrite, bytes(block), 0, nbd.CMD_FLAG_FAST_ZERO)
refused("EINVAL", h.flush, nbd.CMD_FLAG_REQ_ONE)
assert h.pread(MIB, 8 * MIB) == b"\1" * MIB

# Many at once, answered in any order.
def wait_for(cookies):
    for cookie in cookies:
        while not h.aio_command_completed(cookie):
            h.poll(-1)


buffers = [nbd.Buffer(65536) for _ in range(200)]
wait_for([
    h.aio_pwrite(nbd.Buffer.from_bytearray(bytearray([i & 255]) * 65536), i * 65536)
    for i in range(len(buffers))
])
wait_for([h.aio_pread(buffer, i * 65536) for i, buffer in enumerate(buffers)])
for i, buffer in enumerate(buffers):
    assert buffer.to_bytearray() == bytearray([i & 255]) * 65536

# A flush on one connection covers what another was told.
other = nbd.NBD()
other.connect_uri(uri)
assert other.can_multi_conn()
h.pwrite(b"\5" * MIB, 0)
other.flush()
assert other.pread(MIB, 0) == b"\5" * MIB
other.shutdown()

# Without structured replies, and by the old way of choosing an export.
simple = nbd.NBD()
simple.set_request_structured_replies(False)
simple.set_strict_mode(0)
simple.connect_uri(uri)
assert not simple.get_structured_replies_negotiated()
assert simple.pread(MIB, 0) == b"\5" * MIB
refused("EINVAL", simple.pread, block, size)
assert simple.pread(block, 0) == b"\5" * block
simple.shutdown()

wrong = nbd.NBD()
refused("ENOENT", wrong.connect_uri, uri.replace("disk", "other", 1))
h.shutdown()
print("all commands done")
