namespace Ublk.Tests.Simulation.World;

/// <summary>
/// CLOCK_BOOTTIME of one host: begins anew with every boot, runs a little too fast or too slow, and runs on
/// while the host is paused, so that a paused host finds that it has jumped.
/// </summary>
/// <param name="world">The time of the world.</param>
internal sealed class NodeClock(SimulationClock world)
{
    private const long Million = 1_000_000;

    private long _bootedAt;
    private long _offset;

    /// <summary>How much faster than the world it runs, in millionths; below 0: slower.</summary>
    public long DriftPerMillion { get; set; }

    /// <summary>The host's time, in nanoseconds.</summary>
    public long Now
    {
        get
        {
            long since = world.Now - _bootedAt;
            return _offset + since + (long)((Int128)since * DriftPerMillion / Million);
        }
    }

    /// <summary>The host starts.</summary>
    /// <param name="offset">What its clock says then.</param>
    public void Boot(long offset)
    {
        _bootedAt = world.Now;
        _offset = offset;
    }

    /// <summary>How long the world must wait until this clock has gone on by a time, at least.</summary>
    /// <param name="delay">By this clock.</param>
    public long ToWorld(long delay) =>
        (long)(((Int128)delay * Million + Million + DriftPerMillion - 1) / (Million + DriftPerMillion));
}
