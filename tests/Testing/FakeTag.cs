namespace Ublk.Testing;

/// <summary>Where a tag is.</summary>
internal enum FakeTagState
{
    Free,
    Armed,
    Busy,
    Ended,
    Poisoned,
}

/// <summary>One tag of the fake kernel.</summary>
internal sealed class FakeTag(int number)
{
    public int Number { get; } = number;
    public FakeTagState State { get; set; }
    public int ThreadId { get; set; }
    public ulong Word { get; set; }
    public int SlotIndex { get; set; } = -1;
    public FakeBlockRequest? Request { get; set; }
    public FakeQueueDriver? Queue { get; set; }

    public void Reset()
    {
        if (SlotIndex >= 0 && Request is not null)
        {
            Queue!.Table.Remove(SlotIndex, Request);
        }

        State = FakeTagState.Free;
        SlotIndex = -1;
        Request = null;
        Queue = null;
    }
}
