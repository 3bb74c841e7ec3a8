using Ublk.Uring.Native;

namespace Ublk.Replication.Store;

/// <summary>Reads a metadata file on the caller's thread.</summary>
/// <param name="file">The file; owned by the caller.</param>
internal sealed class FileMetadataReader(FileHandle file) : IMetadataReader
{
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
