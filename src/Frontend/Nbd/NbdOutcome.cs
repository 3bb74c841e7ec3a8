using Ublk.Wire.Blocks;

namespace Ublk.Frontend.Nbd;

/// <summary>What becomes of a request.</summary>
internal enum NbdOutcome : byte
{
    Done,
    UnknownCommand,
    UnknownFlags,
    UnexpectedPayload,
    ReadOnly,
    NoLength,
    Misaligned,
    BeyondEnd,
    WriteBeyondEnd,
    TooLong,
    TooLongToAnswer,
    NoContext,
    NotFast,
    IoError,
    NoSpace,
    TargetGone,
    ShuttingDown,
}

/// <summary>The one place where outcomes become errors and words for NBD clients.</summary>
internal static class NbdOutcomes
{
    /// <summary>What the outcome of a target means to a client.</summary>
    /// <param name="status">The target's outcome.</param>
    public static NbdOutcome Of(BlockStatus status) => status switch
    {
        BlockStatus.Ok => NbdOutcome.Done,
        BlockStatus.NoSpace => NbdOutcome.NoSpace,
        BlockStatus.ReadOnly => NbdOutcome.ReadOnly,
        BlockStatus.InvalidRange => NbdOutcome.BeyondEnd,
        BlockStatus.Gone => NbdOutcome.TargetGone,
        _ => NbdOutcome.IoError,
    };

    /// <summary>
    /// The error in a reply. EOVERFLOW and ENOTSUP are kept for the cases that the protocol names ("Error
    /// values"): a read that is too long for one chunk, and zeros that cannot be written fast.
    /// </summary>
    /// <param name="outcome">The outcome.</param>
    public static NbdError ErrorOf(NbdOutcome outcome) => outcome switch
    {
        NbdOutcome.Done => NbdError.None,
        NbdOutcome.ReadOnly => NbdError.Permission,
        NbdOutcome.WriteBeyondEnd or NbdOutcome.NoSpace => NbdError.NoSpace,
        NbdOutcome.TooLongToAnswer => NbdError.Overflow,
        NbdOutcome.NotFast => NbdError.NotSupported,
        NbdOutcome.ShuttingDown => NbdError.Shutdown,
        NbdOutcome.IoError or NbdOutcome.TargetGone => NbdError.Io,
        _ => NbdError.Invalid,
    };

    /// <summary>The same for people; at most <see cref="NbdReplyWriter.MaxTextBytes"/>.</summary>
    /// <param name="outcome">The outcome.</param>
    public static ReadOnlySpan<byte> TextOf(NbdOutcome outcome) => outcome switch
    {
        NbdOutcome.UnknownCommand => "the server does not know this command, or not for this export"u8,
        NbdOutcome.UnknownFlags => "the command does not have one of these flags"u8,
        NbdOutcome.UnexpectedPayload => "the command has no payload, or needs one"u8,
        NbdOutcome.ReadOnly => "the export is read-only"u8,
        NbdOutcome.NoLength => "the length of the range is 0 where it must not be, or not 0 where it must"u8,
        NbdOutcome.Misaligned => "offset or length is not a multiple of the minimum block size"u8,
        NbdOutcome.BeyondEnd or NbdOutcome.WriteBeyondEnd => "the range goes beyond the end of the export"u8,
        NbdOutcome.TooLong or NbdOutcome.TooLongToAnswer =>
            "the length is above the maximum payload of the export"u8,
        NbdOutcome.NoContext => "no metadata context was negotiated"u8,
        NbdOutcome.NotFast => "zeros cannot be written faster than other data here"u8,
        NbdOutcome.IoError => "the medium failed"u8,
        NbdOutcome.NoSpace => "no space is left for the export"u8,
        NbdOutcome.TargetGone => "what was exported is gone"u8,
        NbdOutcome.ShuttingDown => "the server shuts down"u8,
        _ => default,
    };
}
