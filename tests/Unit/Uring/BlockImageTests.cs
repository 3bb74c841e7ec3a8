using Ublk.Uring;
using Ublk.Uring.Native;
using Xunit;

namespace Ublk.Tests.Unit.Uring;

public sealed class BlockImageTests : IDisposable
{
    private readonly TempDirectory _directory = new();

    public void Dispose() => _directory.Dispose();

    [Fact]
    public void MissingFileIsNamedWithItsRemedy()
    {
        BlockImageException error = Refused(_directory.File("missing"), BlockImageError.Missing);
        Assert.Contains("truncate", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void DirectoryIsNoImage() => Refused(_directory.Root, BlockImageError.WrongType);

    [Fact]
    public void CharacterDeviceIsNoImage() => Refused("/dev/null", BlockImageError.WrongType);

    [Fact]
    public void SecondOwnerIsRefusedUntilTheFirstCloses()
    {
        string path = _directory.File("image", 1 << 20);
        using (BlockImage.Open(path, readOnly: false, DirectMode.Off))
        {
            Refused(path, BlockImageError.Busy);
            BlockImageException error = Assert.Throws<BlockImageException>(
                () => BlockImage.Open(path, readOnly: true, DirectMode.Off));
            Assert.Equal(BlockImageError.Busy, error.Error);
        }

        BlockImage.Open(path, readOnly: false, DirectMode.Off).Dispose();
    }

    [Fact]
    public void ReadOnlyImageTakesNoWrites()
    {
        string path = _directory.File("image", 65536);
        using Loop loop = TestLoop.Create();
        using MemoryMapping memory = MemoryMapping.Allocate(4096);
        BlockImage image = BlockImage.Open(path, readOnly: true, DirectMode.Off);
        Assert.True(image.IsReadOnly);
        Assert.False(image.CanPunchHole);
        using var file = new BlockFile<Told>(image, loop, 4);
        var seen = new Collector();
        file.Write(memory.Slice(0, 4096), 0, dataSync: false, new Told(seen, 1));
        file.Read(memory.Slice(0, 4096), 0, new Told(seen, 2));
        loop.Until(() => seen.Count == 2);
        Assert.Equal(-Errno.EBADF, seen.Of(1).Result);
        Assert.Equal(0, seen.Of(2).Result);
    }

    [Fact]
    public void FileWithoutPermissionIsRefusedButForRoot()
    {
        string path = _directory.File("image", 4096);
        File.SetUnixFileMode(path, UnixFileMode.UserRead);
        if (ProcessSetup.IsRoot)
        {
            using BlockImage image = BlockImage.Open(path, readOnly: false, DirectMode.Off);
            Assert.False(image.IsReadOnly);
        }
        else
        {
            Refused(path, BlockImageError.NoPermission);
        }
    }

    [Fact]
    public void SizeFollowsTheFile()
    {
        string path = _directory.File("image", 1_000_000);
        using BlockImage image = BlockImage.Open(path, readOnly: false, DirectMode.Off);
        Assert.Equal(1_000_000, image.SizeBytes);
        Assert.False(image.IsBlockDevice);
        BlockImage.Resize(path, 3_000_000);
        Assert.Equal(1_000_000, image.SizeBytes);
        Assert.Equal(3_000_000, image.RefreshSize());
        Assert.Equal(3_000_000, image.SizeBytes);
    }

    [Fact]
    public void ThroughThePageCacheAnyAlignmentWorks()
    {
        using BlockImage image = BlockImage.Open(
            _directory.File("image", 65536), readOnly: false, DirectMode.Off);
        Assert.False(image.IsDirect);
        Assert.Equal(1, image.DirectAlignBytes);
        Assert.Equal(1, image.MemoryAlignBytes);
    }

    [Fact]
    public void DirectImageTellsItsAlignment()
    {
        string path = _directory.File("image", 65536);
        using BlockImage image = BlockImage.Open(path, readOnly: false, DirectMode.Auto);
        Assert.SkipUnless(image.IsDirect, "this filesystem cannot bypass the page cache");
        Assert.True(int.IsPow2(image.DirectAlignBytes) && image.DirectAlignBytes is >= 512 and <= 65536);
        Assert.True(int.IsPow2(image.MemoryAlignBytes));
        Assert.True(image.PhysicalBlockBytes >= image.DirectAlignBytes);
        using Loop loop = TestLoop.Create();
        using MemoryMapping memory = MemoryMapping.Allocate(65536);
        using var file = new BlockFile<Told>(image, loop, 4);
        var seen = new Collector();
        memory.Bytes.Fill(3);
        file.Write(memory.Slice(0, image.DirectAlignBytes), image.DirectAlignBytes, true, new Told(seen, 1));
        loop.Until(() => seen.Count == 1);
        Assert.Equal(0, seen.Of(1).Result);
        Assert.Equal(3, TestFiles.Bytes(path)[image.DirectAlignBytes]);
    }

    [Fact]
    public void UnalignedDirectTransferFailsCleanly()
    {
        BlockImage image = BlockImage.Open(
            _directory.File("image", 65536), readOnly: false, DirectMode.Auto);
        using Loop loop = TestLoop.Create();
        using MemoryMapping memory = MemoryMapping.Allocate(65536);
        using var file = new BlockFile<Told>(image, loop, 4);
        Assert.SkipUnless(image.IsDirect && image.DirectAlignBytes > 1, "not direct");
        var seen = new Collector();
        file.Write(memory.Slice(0, 100), 0, dataSync: false, new Told(seen, 1));
        file.Read(memory.Slice(0, 4096), 7, new Told(seen, 2));
        loop.Until(() => seen.Count == 2);
        // Some filesystems serve what is not aligned through the page cache instead.
        Assert.Contains(seen.Of(1).Result, new[] { -Errno.EINVAL, 0 });
        Assert.Contains(seen.Of(2).Result, new[] { -Errno.EINVAL, 0 });
    }

    [Fact]
    public void FilesystemWithoutDirectIsRefusedOrGoneThroughTheCache()
    {
        // A regular file that can never be direct, on every Linux.
        const string Path = "/proc/version";
        BlockImageException error = Assert.Throws<BlockImageException>(
            () => BlockImage.Open(Path, readOnly: true, DirectMode.On));
        Assert.Equal(BlockImageError.NotDirect, error.Error);
        using BlockImage image = BlockImage.Open(Path, readOnly: true, DirectMode.Auto);
        Assert.False(image.IsDirect);
        Assert.Equal(1, image.DirectAlignBytes);
    }

    [Fact]
    public void MemoryFilesystemWorksEitherWay()
    {
        Assert.SkipUnless(Directory.Exists("/dev/shm"), "no /dev/shm");
        string path = $"/dev/shm/ublk-test-{Path.GetFileName(_directory.Root)}";
        try
        {
            using (FileStream created = File.Create(path))
            {
                created.SetLength(65536);
            }

            using Loop loop = TestLoop.Create();
            using MemoryMapping memory = MemoryMapping.Allocate(4096);
            BlockImage image = BlockImage.Open(path, readOnly: false, DirectMode.Auto);
            using var file = new BlockFile<Told>(image, loop, 4);
            var seen = new Collector();
            memory.Bytes.Fill(9);
            file.Write(memory.Slice(0, 4096), 8192, dataSync: true, new Told(seen, 1));
            loop.Until(() => seen.Count == 1);
            Assert.Equal(0, seen.Of(1).Result);
            Assert.Equal(9, TestFiles.Bytes(path)[8192]);
        }
        finally
        {
            File.Delete(path);
        }
    }

    [Fact]
    public void ProbingForHolesChangesNothing()
    {
        string path = _directory.File("image");
        File.WriteAllBytes(path, [1, 2, 3, 4, 5]);
        BlockImage.Open(path, readOnly: false, DirectMode.Off).Dispose();
        Assert.Equal([1, 2, 3, 4, 5], File.ReadAllBytes(path));
    }

    private static BlockImageException Refused(string path, BlockImageError expected)
    {
        BlockImageException error = Assert.Throws<BlockImageException>(
            () => BlockImage.Open(path, readOnly: false, DirectMode.Auto));
        Assert.Equal(expected, error.Error);
        Assert.Contains(path, error.Message, StringComparison.Ordinal);
        return error;
    }
}
