using System.Runtime.InteropServices;

namespace Ublk.Testing.Replicas;

/// <summary>
/// Bytes that tell who wrote them: a sector of 512 bytes is filled with one number of 8 bytes, the sequence
/// of its operation.
/// </summary>
public static class SectorStamps
{
    /// <summary>Bytes of a sector.</summary>
    public const int SectorBytes = 512;

    /// <summary>What <see cref="Read"/> says of a sector that nobody has written as a whole.</summary>
    public const ulong Mixed = ulong.MaxValue;

    /// <summary>Fills whole sectors.</summary>
    /// <param name="bytes">The sectors.</param>
    /// <param name="stamp">The number.</param>
    public static void Fill(Span<byte> bytes, ulong stamp) =>
        MemoryMarshal.Cast<byte, ulong>(bytes).Fill(stamp);

    /// <summary>The number of a sector.</summary>
    /// <param name="sector">Its bytes.</param>
    public static ulong Read(ReadOnlySpan<byte> sector)
    {
        ReadOnlySpan<ulong> words = MemoryMarshal.Cast<byte, ulong>(sector);
        return words.ContainsAnyExcept(words[0]) ? Mixed : words[0];
    }

    /// <summary>The numbers of all sectors of an image.</summary>
    /// <param name="image">Path.</param>
    /// <param name="sizeBytes">Bytes to look at.</param>
    public static ulong[] ReadAll(string image, long sizeBytes)
    {
        byte[] bytes = UnlockedFile.ReadAll(image);
        Array.Resize(ref bytes, (int)sizeBytes);
        var stamps = new ulong[sizeBytes / SectorBytes];
        for (int i = 0; i < stamps.Length; i++)
        {
            stamps[i] = Read(bytes.AsSpan(i * SectorBytes, SectorBytes));
        }

        return stamps;
    }
}
