namespace Ublk.Tests.Simulation.World;

/// <content>Content that changes by itself.</content>
internal sealed partial class ImagePages
{
    /// <summary>
    /// A part of a page becomes something else wherever it is the same as now: also on stable media.
    /// </summary>
    /// <param name="offsetBytes">Start.</param>
    /// <param name="bytes">What is there from now on.</param>
    public void Patch(long offsetBytes, ReadOnlySpan<byte> bytes)
    {
        (int page, int at, int length) = Part(offsetBytes, bytes.Length);
        byte[] now = new byte[length];
        Read(offsetBytes, now);
        List<Version> list = _versions[page]?.List ?? [];
        for (int i = 0; i < list.Count; i++)
        {
            list[i] = list[i] with { Content = Patched(list[i].Content, at, now, bytes) };
        }

        _visible[page] = list.Count > 0 ? list[^1].Content : Patched(_visible[page], at, now, bytes);
    }

    private byte[]? Patched(byte[]? content, int at, ReadOnlySpan<byte> from, ReadOnlySpan<byte> to)
    {
        bool isSame = content is null
            ? from.IndexOfAnyExcept((byte)0) < 0 : content.AsSpan(at, from.Length).SequenceEqual(from);
        if (isSame)
        {
            if (content is null)
            {
                content = pool.Rent();
                Array.Clear(content);
            }

            to.CopyTo(content.AsSpan(at));
        }

        return content;
    }
}
