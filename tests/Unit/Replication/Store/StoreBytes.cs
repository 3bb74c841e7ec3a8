using System.Buffers.Binary;
using Ublk.Wire;

namespace Ublk.Tests.Unit.Replication.Store;

/// <summary>Bytes changed by hand, with the checksum made right again.</summary>
internal static class StoreBytes
{
    /// <summary>Counts a checksum anew, its own field as zero.</summary>
    public static void SetCrc(Span<byte> block, int crcAt)
    {
        BinaryPrimitives.WriteUInt32LittleEndian(block[crcAt..], 0);
        BinaryPrimitives.WriteUInt32LittleEndian(block[crcAt..], Crc32C.Compute(block));
    }
}
