using System.Buffers;

namespace Ublk.Tests.Unit.Wire;

/// <summary>Makes sequences of several segments, each an array of its own.</summary>
internal static class Segments
{
    /// <summary>Cuts at the given places.</summary>
    public static ReadOnlySequence<byte> Cut(ReadOnlySpan<byte> bytes, params int[] places)
    {
        Segment? first = null, last = null;
        int from = 0;
        foreach (int place in (int[])[.. places, bytes.Length])
        {
            last = new Segment(bytes[from..place].ToArray(), last);
            first ??= last;
            from = place;
        }

        return new ReadOnlySequence<byte>(first!, 0, last!, last!.Memory.Length);
    }

    /// <summary>Cuts into pieces of one length.</summary>
    public static ReadOnlySequence<byte> Pieces(ReadOnlySpan<byte> bytes, int length)
    {
        int[] places = [.. Enumerable.Range(0, (bytes.Length + length - 1) / length).Select(i => i * length)];
        return Cut(bytes, places);
    }

    private sealed class Segment : ReadOnlySequenceSegment<byte>
    {
        public Segment(byte[] bytes, Segment? previous)
        {
            Memory = bytes;
            if (previous is not null)
            {
                RunningIndex = previous.RunningIndex + previous.Memory.Length;
                previous.Next = this;
            }
        }
    }
}
