using Ublk.Replication.Replica;
using Xunit;

namespace Ublk.Tests.Unit.Replication.Replica;

/// <summary>Who waits for whom on the image.</summary>
public sealed class RangeOrderTests
{
    private const int Block = 4096;

    private readonly List<int> _turns = [];

    [Fact]
    public void WhoWaitedHasItsTurn()
    {
        RangeOrder order = Make();
        order.Add(0, 1, 0, Block);
        Wait(order, slot: 1, place: 2);
        Wait(order, slot: 2, place: 2);
        order.Remove(0);
        Assert.Equal([2, 1], _turns);
    }

    // A read is under way, who waits for it is dropped, and the next one with its slot waits for it too.
    [Fact]
    public void ASlotIsUsedAgainWhileItsFormerOwnersTurnHasNotCome()
    {
        RangeOrder order = Make();
        order.Add(0, 1, 0, Block);
        Wait(order, slot: 1, place: 2);
        Wait(order, slot: 2, place: 2);
        Wait(order, slot: 3, place: 2);
        order.Remove(2);
        Wait(order, slot: 2, place: 2);
        order.Remove(0);
        Assert.Equal([2, 3, 1], _turns);
    }

    [Fact]
    public void WhoIsDroppedMayWaitForAnotherOneThen()
    {
        RangeOrder order = Make();
        order.Add(0, 1, 0, Block);
        order.Add(4, 1, Block, Block);
        Wait(order, slot: 1, place: 2);
        Wait(order, slot: 2, place: 2);
        order.Remove(2);
        order.Add(2, 2, Block, Block);
        Assert.True(order.TryWait(2, 2, Block, Block));
        order.Remove(0);
        Assert.Equal([1], _turns);
        order.Remove(4);
        Assert.Equal([1, 2], _turns);
    }

    private static void Wait(RangeOrder order, int slot, ulong place)
    {
        order.Add(slot, place, 0, Block);
        Assert.True(order.TryWait(slot, place, 0, Block));
    }

    private RangeOrder Make() => new(8) { OnTurn = _turns.Add };
}
