using Ublk.Uring;

namespace Ublk.Tests.Simulation.World;

/// <summary>What is done with an image.</summary>
internal enum ImageVerb
{
    Read,
    Write,
    Zero,
    Sync,
    Grow,
}

/// <summary>An operation under way.</summary>
internal sealed record ImageOperation(ImageVerb Verb, ulong Io, long OffsetBytes, long LengthBytes)
{
    /// <summary>Memory of a read or write.</summary>
    public IoBuffer Buffer { get; set; }

    /// <summary>Of a sync, the last change that it covers; of a growth, the new size.</summary>
    public long Covers { get; init; }

    /// <summary>It never happens.</summary>
    public bool IsDropped { get; set; }

    /// <summary>Its process was killed.</summary>
    public bool IsOrphan { get; set; }

    /// <summary>Only some of its sectors arrive.</summary>
    public bool IsTorn { get; set; }

    public bool ChangesContent => Verb is ImageVerb.Write or ImageVerb.Zero;

    /// <summary>What is written; empty for zeros.</summary>
    public ReadOnlySpan<byte> Bytes => Verb == ImageVerb.Write ? Buffer.Span : [];

    public bool Overlaps(ImageOperation other) =>
        OffsetBytes < other.OffsetBytes + other.LengthBytes &&
        other.OffsetBytes < OffsetBytes + LengthBytes;

    // Two changes of the same bytes at once would leave any mix of them.
    public bool Collides(ImageOperation other) =>
        ChangesContent && other.ChangesContent && Overlaps(other);

    // Of a record this would be by value, and two reads may be alike.
    public bool Equals(ImageOperation? other) => ReferenceEquals(this, other);

    public override int GetHashCode() => Io.GetHashCode();
}
