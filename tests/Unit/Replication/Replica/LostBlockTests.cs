using Ublk.Replication.Replica;
using Xunit;

namespace Ublk.Tests.Unit.Replication.Replica;

public sealed class LostBlockTests
{
    private const long Offset = 8192;
    private const uint Checksum = 0x12345678;

    private readonly byte[] _block = new byte[4096];

    [Fact]
    public void GoldenBytes()
    {
        LostBlock.Fill(_block, Offset, Checksum);
        for (int at = 0; at < _block.Length; at += 512)
        {
            Assert.Equal(
                "55424C4B204C4F535420424C4F434B000020000000000000785634120FB0C7E6",
                Convert.ToHexString(_block.AsSpan(at, 32)));
            Assert.False(_block.AsSpan(at + 32, 480).ContainsAnyExcept((byte)0));
        }
    }

    [Fact]
    public void AnySectorTells()
    {
        LostBlock.Fill(_block, Offset, Checksum);
        _block.AsSpan(0, 7 * 512).Fill(1);
        Assert.True(LostBlock.Is(_block, Offset, out uint checksum));
        Assert.Equal(Checksum, checksum);
        _block.AsSpan().Fill(1);
        Assert.False(LostBlock.Is(_block, Offset, out _));
    }

    // What was copied there by somebody who read the image is content.
    [Fact]
    public void AnotherBlocksSectorsAreContent()
    {
        LostBlock.Fill(_block, Offset, Checksum);
        Assert.False(LostBlock.Is(_block, 0, out _));
    }
}
