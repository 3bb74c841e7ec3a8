using System.Text;
using Ublk.Wire;
using Xunit;

namespace Ublk.Tests.Unit;

public sealed class Crc32CTests
{
    [Theory]
    [InlineData("", 0x00000000u)]
    [InlineData("a", 0xC1D04330u)]
    [InlineData("123456789", 0xE3069283u)]
    [InlineData("The quick brown fox jumps over the lazy dog", 0x22620404u)]
    public void KnownValues(string text, uint crc) =>
        Assert.Equal(crc, Crc32C.Compute(Encoding.ASCII.GetBytes(text)));

    // RFC 3720, B.4.
    [Fact]
    public void ValuesOfTheStandard()
    {
        byte[] data = new byte[32];
        Assert.Equal(0x8A9136AAu, Crc32C.Compute(data));
        Array.Fill(data, (byte)0xFF);
        Assert.Equal(0x62A8AB43u, Crc32C.Compute(data));
        Assert.Equal(0x46DD794Eu, Crc32C.Compute(Enumerable.Range(0, 32).Select(i => (byte)i).ToArray()));
    }

    [Fact]
    public void PartsMakeTheWholeAtEverySplit()
    {
        byte[] data = new byte[67];
        new Random(1).NextBytes(data);
        uint whole = Crc32C.Compute(data);
        for (int at = 0; at <= data.Length; at++)
        {
            Assert.Equal(whole, Crc32C.Append(Crc32C.Compute(data.AsSpan(0, at)), data.AsSpan(at)));
        }
    }
}
