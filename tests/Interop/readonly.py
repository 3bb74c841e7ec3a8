# Nothing can be written to a read-only export. Argument: URI.
import sys
import nbd

h = nbd.NBD()
h.set_strict_mode(0)
h.connect_uri(sys.argv[1])
assert h.is_read_only()
for call in (lambda: h.pwrite(bytes(512), 0), lambda: h.zero(512, 0), lambda: h.trim(512, 0)):
    try:
        call()
    except nbd.Error as error:
        assert error.errno == "EPERM", error.errno
    else:
        raise AssertionError("written")
assert h.pread(512, 0) == bytes(512)
h.flush()
h.shutdown()
print("all refused")
