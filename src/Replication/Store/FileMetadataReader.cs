using Ublk.Uring.Native;
using Ublk.Wire.Ids;

namespace Ublk.Replication.Store;

/// <summary>Reads a metadata file on the caller's thread.</summary>
/// <param name="file">The file; owned by the caller.</param>
internal sealed class FileMetadataReader(FileHandle file) : IMetadataReader
{
    private readonly byte[] _block = new byte[MetadataRecord.Bytes];

    public RecordVerdict Open(long offsetBytes, Incarnation identity, out OpenRecord record)
    {
        record = default;
        return TryRead(offsetBytes, _block)
            ? MetadataRecord.Open(_block, identity, out record) : RecordVerdict.Damaged;
    }

    /// <summary>Reads 4096 bytes; false when the medium does not give them.</summary>
    /// <param name="offsetBytes">Offset in the metadata file, a multiple of 4096.</param>
    /// <param name="block">Where they go.</param>
    public bool TryRead(long offsetBytes, Span<byte> block)
    {
        block = block[..MetadataRecord.Bytes];
        int done = 0;
        while (done < block.Length)
        {
            int count = file.ReadAt(block[done..], offsetBytes + done);
            if (count <= 0)
            {
                return false;
            }

            done += count;
        }

        return true;
    }
}
