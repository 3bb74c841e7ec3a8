namespace Ublk.Tests.Simulation.World;

/// <summary>
/// The only source of chance in a history. Small and cheap to make, so that every part of the world has one
/// of its own: what one part draws does not change what another one gets (SplitMix64).
/// </summary>
internal sealed class SimulationRandom(ulong seed)
{
    private const ulong Step = 0x9e37_79b9_7f4a_7c15;

    private ulong _state = seed;

    /// <summary>64 random bits.</summary>
    public ulong NextBits()
    {
        _state += Step;
        ulong bits = _state;
        bits = (bits ^ (bits >> 30)) * 0xbf58_476d_1ce4_e5b9;
        bits = (bits ^ (bits >> 27)) * 0x94d0_49bb_1331_11eb;
        return bits ^ (bits >> 31);
    }

    /// <summary>A number from 0 up to, not including, a limit.</summary>
    public int Below(int limit) => (int)(NextBits() % (ulong)limit);

    /// <summary>A number from 0 up to, not including, a limit.</summary>
    public long Below(long limit) => (long)(NextBits() % (ulong)limit);

    /// <summary>A number from a first one up to and including a last one.</summary>
    public long Between(long first, long last) => first + Below(last - first + 1);

    /// <summary>A number from a first one up to and including a last one.</summary>
    public int Between(int first, int last) => first + Below(last - first + 1);

    /// <summary>True so many times in a thousand.</summary>
    public bool Chance(int permille) => permille > 0 && Below(1000) < permille;

    /// <summary>Another source, that goes its own way.</summary>
    public SimulationRandom Fork() => new(NextBits());
}
