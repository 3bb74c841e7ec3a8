using System.Text;
using Ublk.Wire.Blocks;

namespace Ublk.Frontend.Nbd;

/// <summary>A target as NBD clients see it, under a name. Used on the target's loop.</summary>
public sealed class NbdExport
{
    /// <summary>Longest name and longest description in bytes of UTF-8.</summary>
    public const int MaxTextBytes = 255;

    private const int MinPreferredBytes = 4096;

    private readonly byte[] _name;
    private readonly byte[] _description;

    /// <summary>Makes an export.</summary>
    /// <param name="name">Its name; clients may ask for the first export by an empty name, too.</param>
    /// <param name="description">A line for people; may be empty.</param>
    /// <param name="target">Where requests go; stays the caller's.</param>
    /// <param name="maxRequests">
    /// Requests that all clients together give to the target at once; with what others give it no more than
    /// <see cref="BlockLimits.MaxRequests"/>.
    /// </param>
    /// <param name="isReadOnly">Whether no client may write, whatever the target takes.</param>
    /// <exception cref="ArgumentException">Name or description is too long.</exception>
    public NbdExport(
        string name, string description, IBlockTarget target, int maxRequests, bool isReadOnly = false)
    {
        _name = Encoding.UTF8.GetBytes(name);
        _description = Encoding.UTF8.GetBytes(description);
        if (_name.Length > MaxTextBytes || _description.Length > MaxTextBytes)
        {
            throw new ArgumentException(
                $"name and description of an export have at most {MaxTextBytes} bytes", nameof(name));
        }

        Name = name;
        Target = target;
        IsReadOnly = isReadOnly || target.Limits.IsReadOnly;
        Requests = new NbdTargetQueue(target, Math.Min(maxRequests, target.Limits.MaxRequests));
    }

    /// <summary>Its name.</summary>
    public string Name { get; }

    /// <summary>Where requests go.</summary>
    public IBlockTarget Target { get; }

    /// <summary>Whether no client may write.</summary>
    public bool IsReadOnly { get; }

    internal ReadOnlySpan<byte> NameBytes => _name;

    internal ReadOnlySpan<byte> DescriptionBytes => _description;

    internal NbdTargetQueue Requests { get; }

    internal BlockLimits Limits => Target.Limits;

    /// <summary>
    /// Preferred size of requests in bytes: a power of two, at least the minimum ("Size constraints").
    /// </summary>
    internal int PreferredBytes => Math.Max(MinPreferredBytes,
        Math.Max(Limits.LogicalBlockBytes, Math.Max(Limits.PhysicalBlockBytes, Limits.OptimalIoBytes)));

    internal bool CanTrim => !IsReadOnly && Limits.MaxDiscardBytes > 0;

    // Every flag is true whatever the target is: what it lacks itself is made of what it has.
    internal NbdTransmissionFlags FlagsFor(NbdReplyStyle style)
    {
        // One target on one loop: a flush covers what any connection was told before.
        NbdTransmissionFlags flags = NbdTransmissionFlags.HasFlags | NbdTransmissionFlags.SendFlush |
            NbdTransmissionFlags.SendFua | NbdTransmissionFlags.SendCache | NbdTransmissionFlags.CanMultiConn;
        flags |= IsReadOnly ? NbdTransmissionFlags.ReadOnly
            : NbdTransmissionFlags.SendWriteZeroes | NbdTransmissionFlags.SendFastZero;
        flags |= CanTrim ? NbdTransmissionFlags.SendTrim : NbdTransmissionFlags.None;
        flags |= style == NbdReplyStyle.Simple ? NbdTransmissionFlags.None : NbdTransmissionFlags.SendDf;
        return flags;
    }
}
