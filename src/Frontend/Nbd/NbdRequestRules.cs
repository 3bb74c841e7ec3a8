using System.Numerics;

namespace Ublk.Frontend.Nbd;

/// <summary>
/// What of an export decides whether a request can be served; constant for a connection, except for the size.
/// </summary>
/// <param name="Style">How requests come and are answered.</param>
/// <param name="BlockBytes">Minimum block size, a power of two.</param>
/// <param name="MaxPayloadBytes">Longest read or write.</param>
/// <param name="IsReadOnly">Takes no writes.</param>
/// <param name="CanTrim">Knows TRIM.</param>
/// <param name="HasContext">The context base:allocation was negotiated for this export.</param>
internal readonly record struct NbdRequestRules(
    NbdReplyStyle Style, int BlockBytes, int MaxPayloadBytes, bool IsReadOnly, bool CanTrim, bool HasContext)
{
    /// <summary>
    /// Whether a request can be served, before anything of it was done. Order of the answers: is it known,
    /// may it be, is its range sound.
    /// </summary>
    /// <param name="request">Any request but a disconnect.</param>
    /// <param name="sizeBytes">Size of the export now.</param>
    public NbdOutcome Check(in NbdRequest request, long sizeBytes)
    {
        bool isWrite = request.Command == NbdCommand.Write;
        if (!IsKnown(request.Command))
        {
            return NbdOutcome.UnknownCommand;
        }

        if (Style == NbdReplyStyle.Extended && request.Has(NbdCommandFlags.PayloadLength) != isWrite)
        {
            return NbdOutcome.UnexpectedPayload;
        }

        if ((request.Flags & ~FlagsOf(request.Command)) != NbdCommandFlags.None)
        {
            return NbdOutcome.UnknownFlags;
        }

        bool changes = isWrite || request.Command is NbdCommand.Trim or NbdCommand.WriteZeroes;
        if (changes && IsReadOnly)
        {
            return NbdOutcome.ReadOnly;
        }

        if (request.Command == NbdCommand.Flush)
        {
            return (request.OffsetBytes | request.LengthBytes) == 0 ? NbdOutcome.Done : NbdOutcome.NoLength;
        }

        if (request.Command == NbdCommand.BlockStatus && !HasContext)
        {
            return NbdOutcome.NoContext;
        }

        return CheckRange(request, sizeBytes);
    }

    private NbdOutcome CheckRange(in NbdRequest request, long sizeBytes)
    {
        if (request.LengthBytes == 0)
        {
            return NbdOutcome.NoLength;
        }

        if (BitOperations.TrailingZeroCount(request.OffsetBytes | request.LengthBytes) <
            BitOperations.Log2((uint)BlockBytes))
        {
            return NbdOutcome.Misaligned;
        }

        ulong size = (ulong)sizeBytes;
        if (request.LengthBytes > size || request.OffsetBytes > size - request.LengthBytes)
        {
            return request.Command is NbdCommand.Write or NbdCommand.WriteZeroes
                ? NbdOutcome.WriteBeyondEnd : NbdOutcome.BeyondEnd;
        }

        bool hasPayload = request.Command is NbdCommand.Read or NbdCommand.Write;
        if (hasPayload && request.LengthBytes > (ulong)MaxPayloadBytes)
        {
            bool isInChunks = request.Command == NbdCommand.Read && Style != NbdReplyStyle.Simple;
            return isInChunks ? NbdOutcome.TooLongToAnswer : NbdOutcome.TooLong;
        }

        return NbdOutcome.Done;
    }

    private bool IsKnown(NbdCommand command) => command switch
    {
        NbdCommand.Trim => CanTrim || IsReadOnly, // Where nothing may be written that is what is said.
        NbdCommand.Disconnect => false,
        _ => command <= NbdCommand.BlockStatus,
    };

    // Source: "Command flags". FUA is taken with every command, as the protocol asks for.
    private NbdCommandFlags FlagsOf(NbdCommand command) => NbdCommandFlags.Fua | command switch
    {
        NbdCommand.Read when Style != NbdReplyStyle.Simple => NbdCommandFlags.DontFragment,
        NbdCommand.Write when Style == NbdReplyStyle.Extended => NbdCommandFlags.PayloadLength,
        NbdCommand.WriteZeroes => NbdCommandFlags.NoHole | NbdCommandFlags.FastZero,
        NbdCommand.BlockStatus => NbdCommandFlags.RequestOne,
        _ => NbdCommandFlags.None,
    };
}
