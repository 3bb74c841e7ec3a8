namespace Ublk.Tests.Simulation.World;

/// <summary>What a node's process tells those who work for it.</summary>
internal interface INodeWatcher
{
    /// <summary>The process was killed; the host goes on.</summary>
    void OnProcessKilled();

    /// <summary>The host has lost power, and the process with it.</summary>
    void OnPowerLost();
}

/// <summary>
/// A host with one process. Everything that is told to the process goes through here: while it is frozen
/// it is kept, and when the process was killed meanwhile nobody hears of it.
/// </summary>
internal sealed class SimulatedNode
{
    private readonly SimulationClock _clock;
    private readonly SimulationRandom _random;
    private readonly Queue<Action> _kept = new();
    private readonly List<INodeWatcher> _watchers = [];

    /// <summary>Makes a host that is up, with a process that runs.</summary>
    /// <param name="index">Its number.</param>
    /// <param name="clock">The time of the world.</param>
    /// <param name="random">Where chance comes from.</param>
    public SimulatedNode(int index, SimulationClock clock, SimulationRandom random)
    {
        Index = index;
        _clock = clock;
        _random = random;
        Clock = new NodeClock(clock);
        Boot();
        IsRunning = true;
        Process = 1;
    }

    /// <summary>Its number.</summary>
    public int Index { get; }

    /// <summary>CLOCK_BOOTTIME of the host.</summary>
    public NodeClock Clock { get; }

    /// <summary>The boot id of the host: another one after every loss of power.</summary>
    public Guid BootId { get; private set; }

    /// <summary>Number of the process: another one after every start.</summary>
    public int Process { get; private set; }

    /// <summary>Whether the process runs, or is frozen.</summary>
    public bool IsRunning { get; private set; }

    /// <summary>Whether the process is stopped (SIGSTOP).</summary>
    public bool IsFrozen { get; private set; }

    /// <summary>Whether the host has power.</summary>
    public bool IsPowered { get; private set; }

    /// <summary>Somebody wants to know of kills and of losses of power.</summary>
    public void Watch(INodeWatcher watcher) => _watchers.Add(watcher);

    /// <summary>
    /// The process that runs now is told something, at once; later when it is frozen, never when it is gone.
    /// </summary>
    /// <param name="process">Its number.</param>
    /// <param name="news">What it is told.</param>
    public void Tell(int process, Action news)
    {
        if (!IsRunning || process != Process)
        {
            return;
        }

        if (IsFrozen || _kept.Count > 0)
        {
            _kept.Enqueue(news);
        }
        else
        {
            news();
        }
    }

    /// <summary>The process that runs now does something as soon as it has finished what it does.</summary>
    /// <param name="work">What.</param>
    public void Post(Action work) => After(0, work);

    /// <summary>The process that runs now does something later, by its own clock.</summary>
    /// <param name="delay">After so many nanoseconds.</param>
    /// <param name="work">What.</param>
    public void After(long delay, Action work)
    {
        int process = Process;
        _clock.After(Clock.ToWorld(delay), () => Tell(process, work));
    }

    /// <summary>Stops the process for now.</summary>
    public void Freeze() => IsFrozen = IsRunning;

    /// <summary>Lets the process go on; it hears of all that happened.</summary>
    public void Thaw()
    {
        if (!IsFrozen)
        {
            return;
        }

        IsFrozen = false;
        int process = Process;
        while (process == Process && IsRunning && !IsFrozen && _kept.TryDequeue(out Action? news))
        {
            news();
        }
    }

    /// <summary>Kills the process (SIGKILL).</summary>
    public void Kill()
    {
        if (IsRunning)
        {
            End();
            foreach (INodeWatcher watcher in _watchers)
            {
                watcher.OnProcessKilled();
            }
        }
    }

    /// <summary>The host loses power, whatever runs on it.</summary>
    public void LosePower()
    {
        if (IsPowered)
        {
            End();
            IsPowered = false;
            foreach (INodeWatcher watcher in _watchers)
            {
                watcher.OnPowerLost();
            }
        }
    }

    /// <summary>Starts the process, and the host before if it is down.</summary>
    public void Start()
    {
        if (IsRunning)
        {
            throw new InvalidOperationException($"node {Index} runs already");
        }

        if (!IsPowered)
        {
            Boot();
        }

        Process++;
        IsRunning = true;
    }

    private void Boot()
    {
        const long LongestUp = 1_000_000_000_000_000;
        IsPowered = true;
        Span<byte> id = stackalloc byte[16];
        BitConverter.TryWriteBytes(id, _random.NextBits());
        BitConverter.TryWriteBytes(id[8..], _random.NextBits());
        BootId = new Guid(id);
        Clock.Boot(_random.Below(LongestUp));
    }

    private void End()
    {
        IsRunning = false;
        IsFrozen = false;
        _kept.Clear();
    }
}
