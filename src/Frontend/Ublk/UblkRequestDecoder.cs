using Ublk.Wire.Blocks;

namespace Ublk.Frontend.Ublk;

/// <summary>From the driver's words for a request to ours; a pure function.</summary>
internal static class UblkRequestDecoder
{
    /// <summary>Decodes a descriptor; false for an operation we do not know.</summary>
    public static bool TryDecode(
        in UblkIoDescriptor descriptor, out BlockOperation operation, out BlockRequestFlags flags)
    {
        flags = BlockRequestFlags.None;
        if ((descriptor.OperationFlags & UblkAbi.DescriptorFua) != 0)
        {
            flags |= BlockRequestFlags.ForceUnitAccess;
        }

        if ((descriptor.OperationFlags & UblkAbi.DescriptorNoUnmap) != 0)
        {
            flags |= BlockRequestFlags.NoUnmap;
        }

        BlockOperation? known = (UblkOperation)(descriptor.OperationFlags & 0xFF) switch
        {
            UblkOperation.Read => BlockOperation.Read,
            UblkOperation.Write => BlockOperation.Write,
            UblkOperation.Flush => BlockOperation.Flush,
            UblkOperation.Discard => BlockOperation.Discard,
            UblkOperation.WriteZeroes => BlockOperation.WriteZeroes,
            _ => null,
        };
        operation = known.GetValueOrDefault();
        return known is not null;
    }
}
