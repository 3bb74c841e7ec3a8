using System.Text;
using Ublk.Wire;
using Xunit;

namespace Ublk.Tests.Unit.Wire;

/// <summary>The checksum is the one of iSCSI, whichever way it is computed.</summary>
public sealed class Crc32CTests
{
    private const uint Polynomial = 0x82f6_3b78;

    [Fact]
    public void KnownVectorsComeOut()
    {
        // RFC 3720, appendix B.4, and the check value of the catalogue of checksums.
        Assert.Equal(0x8a91_36aau, Crc32C.Compute(new byte[32]));
        Assert.Equal(0x62a8_ab43u, Crc32C.Compute([.. Enumerable.Repeat((byte)0xff, 32)]));
        Assert.Equal(0x46dd_794eu, Crc32C.Compute([.. Enumerable.Range(0, 32).Select(i => (byte)i)]));
        Assert.Equal(0x113f_db5cu, Crc32C.Compute([.. Enumerable.Range(0, 32).Select(i => (byte)(31 - i))]));
        Assert.Equal(0xe306_9283u, Crc32C.Compute(Encoding.ASCII.GetBytes("123456789")));
        Assert.Equal(0u, Crc32C.Compute([]));
    }

    [Fact]
    public void EveryLengthAgreesWithTheDefinition()
    {
        byte[] bytes = new byte[3 * 3 * Crc32C.StretchBytes + 100];
        new Random(20_261_122).NextBytes(bytes);
        uint state = ~0u;
        for (int length = 0; length <= bytes.Length; length++)
        {
            if (length % 7 == 0 || length % Crc32C.StretchBytes < 2)
            {
                ReadOnlySpan<byte> part = bytes.AsSpan(0, length);
                Assert.Equal(~state, Crc32C.Compute(part));
                Assert.Equal(~state, ~Crc32C.OneByOne(~0u, part));
            }

            state = length < bytes.Length ? ByDefinition(state, bytes[length]) : state;
        }
    }

    [Fact]
    public void PiecesMakeUpTheWhole()
    {
        byte[] bytes = new byte[20_000];
        new Random(20_261_122).NextBytes(bytes);
        uint whole = Crc32C.Compute(bytes);
        foreach (int length in (int[])[1, 7, 512, 4096, 5000, 19_999])
        {
            Assert.Equal(whole, Crc32C.Compute(Segments.Pieces(bytes, length)));
            Assert.Equal(whole, Crc32C.Append(Crc32C.Compute(bytes.AsSpan(0, length)), bytes.AsSpan(length)));
        }
    }

    [Fact]
    public void DistancesAreThePowersTheyAreSaidToBe()
    {
        Assert.Equal(Crc32C.OverOneStretch, PowerOfX((8 * Crc32C.StretchBytes) - 33));
        Assert.Equal(Crc32C.OverTwoStretches, PowerOfX((8 * 2 * Crc32C.StretchBytes) - 33));
    }

    private static uint ByDefinition(uint state, byte value)
    {
        state ^= value;
        for (int bit = 0; bit < 8; bit++)
        {
            state = Step(state);
        }

        return state;
    }

    private static uint PowerOfX(int exponent)
    {
        uint power = 0x8000_0000;
        for (int i = 0; i < exponent; i++)
        {
            power = Step(power);
        }

        return power;
    }

    private static uint Step(uint state) => (state >> 1) ^ ((state & 1) != 0 ? Polynomial : 0);
}
