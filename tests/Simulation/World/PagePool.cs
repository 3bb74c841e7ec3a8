namespace Ublk.Tests.Simulation.World;

/// <summary>Pages of 4 KiB for the disks of the world, used by one history after the other.</summary>
internal sealed class PagePool
{
    public const int PageBytes = 4096;

    private readonly Stack<byte[]> _free = new();

    /// <summary>Gives a page, with anything in it.</summary>
    public byte[] Rent() => _free.TryPop(out byte[]? page)
        ? page
        : GC.AllocateUninitializedArray<byte>(PageBytes);

    /// <summary>Takes a page back.</summary>
    /// <param name="page">The page; null stands for zeros and is nobody's.</param>
    public void Return(byte[]? page)
    {
        if (page is not null)
        {
            _free.Push(page);
        }
    }
}
