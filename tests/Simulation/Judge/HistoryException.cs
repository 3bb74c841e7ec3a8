namespace Ublk.Tests.Simulation.Judge;

/// <summary>The volume has broken a promise.</summary>
public sealed class HistoryException : Exception
{
    public HistoryException()
    {
    }

    public HistoryException(string message) : base(message)
    {
    }

    public HistoryException(string message, Exception inner) : base(message, inner)
    {
    }
}
