using System.Runtime.InteropServices;
using Ublk.Replication.State;
using Ublk.Wire.Blocks;
using Ublk.Wire.Ids;
using Ublk.Wire.Messages;

namespace Ublk.Replication.Primary;

/// <summary>Operations of the window as messages, and answers as the window takes them.</summary>
internal static class StreamMessages
{
    /// <summary>An operation for a replica.</summary>
    /// <param name="operation">The operation.</param>
    /// <param name="epoch">The primary's.</param>
    /// <param name="committed">C.</param>
    /// <param name="view">Which replicas count now.</param>
    public static Write WriteOf(in WindowOperation operation, Epoch epoch, ulong committed, View view) => new(
        epoch, new Sequence(operation.Sequence), MutationOf(operation.Operation), FlagsOf(operation),
        operation.OffsetBytes, (int)operation.LengthBytes, operation.Crc, new Sequence(committed), view);

    /// <summary>What an answer means to the window.</summary>
    /// <param name="status">The answer.</param>
    public static ApplyStatus StatusOf(AnswerStatus status) => status switch
    {
        AnswerStatus.Ok => ApplyStatus.Applied,
        AnswerStatus.Missing when !Mistakes.Make(Mistake.StaleAnswerCounts) => ApplyStatus.Stale,
        AnswerStatus.Missing => ApplyStatus.Applied,
        _ => ApplyStatus.Failed,
    };

    /// <summary>Asks a replica for blocks of a region.</summary>
    /// <param name="effects">Sends it.</param>
    /// <param name="place">The replica.</param>
    /// <param name="request">The region, and the name of the question.</param>
    /// <param name="wanted">Which blocks (<see cref="BlockBits"/>).</param>
    public static void AskBlocks(
        IPrimaryEffects effects, int place, in CopyRequest request, ulong[] wanted) => effects.SendBytes(
        place, request, MemoryMarshal.AsBytes<ulong>(wanted)[..request.PayloadBytes]);

    private static Mutation MutationOf(BlockOperation operation) => operation switch
    {
        BlockOperation.Write => Mutation.Write,
        BlockOperation.Discard => Mutation.Discard,
        _ => Mutation.WriteZeroes,
    };

    private static MutationFlags FlagsOf(in WindowOperation operation)
    {
        MutationFlags flags = (operation.Flags & BlockRequestFlags.ForceUnitAccess) != BlockRequestFlags.None
            ? MutationFlags.ForceUnitAccess : MutationFlags.None;
        bool keeps = operation.Operation == BlockOperation.WriteZeroes &&
            (operation.Flags & BlockRequestFlags.NoUnmap) != BlockRequestFlags.None;
        return keeps ? flags | MutationFlags.NoUnmap : flags;
    }
}
