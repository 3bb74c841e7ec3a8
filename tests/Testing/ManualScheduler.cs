using System.IO.Pipelines;

namespace Ublk.Testing;

/// <summary>Runs what it is given when the test says so, in order, on the test's thread.</summary>
public sealed class ManualScheduler : PipeScheduler
{
    private readonly Queue<(Action<object?> Action, object? State)> _waiting = new();

    /// <summary>Actions that wait.</summary>
    public int WaitingCount => _waiting.Count;

    /// <inheritdoc/>
    public override void Schedule(Action<object?> action, object? state) => _waiting.Enqueue((action, state));

    /// <summary>Runs one action; false when none waits.</summary>
    public bool Turn()
    {
        if (!_waiting.TryDequeue(out (Action<object?> Action, object? State) next))
        {
            return false;
        }

        next.Action(next.State);
        return true;
    }

    /// <summary>Runs until nothing waits. Answers how many actions ran.</summary>
    /// <param name="limit">More than these are taken for a circle.</param>
    public int TurnAll(int limit = 1_000_000)
    {
        int count = 0;
        while (Turn())
        {
            if (++count == limit)
            {
                throw new InvalidOperationException($"{limit} actions, and no end");
            }
        }

        return count;
    }
}
