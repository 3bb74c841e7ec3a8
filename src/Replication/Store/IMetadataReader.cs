namespace Ublk.Replication.Store;

/// <summary>Reads the metadata file of a replica, 4096 bytes at a time.</summary>
public interface IMetadataReader
{
    /// <summary>Reads 4096 bytes; false when the medium does not give them.</summary>
    /// <param name="offsetBytes">Offset in the metadata file, a multiple of 4096.</param>
    /// <param name="block">Where they go.</param>
    bool TryRead(long offsetBytes, Span<byte> block);
}
