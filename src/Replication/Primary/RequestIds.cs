using Ublk.Wire.Ids;

namespace Ublk.Replication.Primary;

/// <summary>Names the questions of one writer, so that no two under way have one name.</summary>
internal sealed class RequestIds
{
    private uint _last;

    /// <summary>A name that was not given for four thousand million questions.</summary>
    public RequestId Next() => new(++_last);
}
